/** Jobs and attempts as rows, and back. */
import { createHash } from 'node:crypto'
import type { Insertable, Selectable } from 'kysely'
import type { JobOperation } from '../../actors/queue/queue-ports.ts'
import { nameKey } from '../../domain/filename.ts'
import type {
  Attempt,
  Failure,
  InputImage,
  Job,
  JobState,
  Trace,
  VideoFacts,
} from '../../domain/job.ts'
import type { Database } from './schema.ts'

/** What a job is in SQL, at first. */
export function toRow({
  jobId,
  seq,
  request,
  owner,
  address,
  at,
}: Extract<JobOperation, { op: 'submit' }>): Insertable<Database['job']> {
  const { prompt, size, frames, steps, guidance, shift, seed, image, remixOf, filename } = request
  const { metadata } = request
  return {
    seq,
    id: jobId,
    prompt,
    prompt_digest: digest(prompt),
    negative_prompt: request.negativePrompt ?? null,
    size,
    frames,
    steps,
    guidance: guidance ?? null,
    shift: shift ?? null,
    seed,
    image: image ? JSON.stringify(image) : null,
    remix_of: remixOf ?? null,
    metadata: metadata ? JSON.stringify(metadata) : null,
    requested_filename: filename ?? null,
    name_key: filename === undefined ? null : nameKey(filename),
    filename: filename ?? null,
    submitted_at: at,
    owner,
    address,
    status: 'queued',
    epoch: 0,
    attempts: 0,
  }
}

/** By which a prompt is found: prompts may be long. */
export const digest = (prompt: string): string =>
  createHash('sha256').update(prompt).digest('base64url').slice(0, 16)

export function toJob(row: Selectable<Database['job']>): Job {
  const { prompt, size, frames, steps, guidance, shift, seed, image, remix_of: remixOf } = row
  const { requested_filename: filename, metadata } = row
  return {
    id: row.id,
    seq: row.seq,
    request: {
      prompt,
      size,
      frames,
      steps,
      seed,
      ...(row.negative_prompt !== null && { negativePrompt: row.negative_prompt }),
      ...(guidance !== null && { guidance }),
      ...(shift !== null && { shift }),
      ...(image !== null && { image: JSON.parse(image) as InputImage }),
      ...(remixOf !== null && { remixOf }),
      ...(filename !== null && { filename }),
      ...(metadata !== null && { metadata: JSON.parse(metadata) as Record<string, string> }),
    },
    owner: row.owner,
    submittedAt: row.submitted_at,
    epoch: row.epoch,
    attempts: row.attempts,
    ...(row.pinned_at !== null && { pinnedAt: row.pinned_at }),
    state: toState(row),
  }
}

function toState(row: Selectable<Database['job']>): JobState {
  const { gpu, filename, claimed_at: claimedAt, started_at: startedAt, ended_at: endedAt } = row
  const where = { ...(gpu !== null && { gpu }), ...(startedAt !== null && { startedAt }) }
  switch (row.status) {
    case 'queued':
      return { status: 'queued' }
    case 'running':
      return {
        status: 'running',
        phase: known(row, 'phase'),
        gpu: known(row, 'gpu'),
        filename: known(row, 'filename'),
        claimedAt: known(row, 'claimed_at'),
        ...(startedAt !== null && { startedAt }),
        ...(row.generated_at !== null && { generatedAt: row.generated_at }),
        cancelRequested: row.cancel_requested_at !== null,
      }
    case 'success':
      return {
        status: 'success',
        gpu: known(row, 'gpu'),
        filename: filename ?? known(row, 'filename'),
        startedAt: startedAt ?? claimedAt ?? known(row, 'claimed_at'),
        endedAt: known(row, 'ended_at'),
        video: JSON.parse(known(row, 'video')) as VideoFacts,
        ...(row.file_deleted_at !== null && { fileDeletedAt: row.file_deleted_at }),
        ...(row.file_lost !== null && { fileLost: row.file_lost }),
        ...(row.removing !== null && { removing: row.removing }),
      }
    case 'error':
      return {
        status: 'error',
        failure: JSON.parse(known(row, 'failure')) as Failure,
        ...where,
        endedAt: endedAt ?? known(row, 'ended_at'),
      }
    case 'canceled':
      return {
        status: 'canceled',
        ...where,
        endedAt: endedAt ?? known(row, 'ended_at'),
        ...(row.cancel_requested_at !== null && { cancelRequestedAt: row.cancel_requested_at }),
      }
  }
}

/** A column that the row's status promises to be there. */
function known<Key extends keyof Selectable<Database['job']>>(
  row: Selectable<Database['job']>,
  column: Key,
): NonNullable<Selectable<Database['job']>[Key]> {
  const value = row[column]
  if (value !== null) return value as NonNullable<typeof value>
  throw new Error(`job ${row.id} is ${row.status} but has no ${column}`)
}

export function toAttempt(row: Selectable<Database['attempt']>): Attempt {
  const { started_at, generated_at, ended_at, outcome, failure, trace, command, start } = row
  return {
    epoch: row.epoch,
    number: row.number,
    gpu: row.gpu,
    claimedAt: row.claimed_at,
    ...(started_at !== null && { startedAt: started_at }),
    ...(generated_at !== null && { generatedAt: generated_at }),
    ...(ended_at !== null && { endedAt: ended_at }),
    ...(outcome !== null && { outcome }),
    ...(failure !== null && { failure: JSON.parse(failure) as Failure }),
    ...(trace !== null && { trace: JSON.parse(trace) as Trace }),
    ...(command !== null && { command: JSON.parse(command) as string[] }),
    ...(start !== null && { start }),
  }
}
