/** Which jobs are taken. */
import type { Client } from '../../client.ts'
import { RefusalError } from '../../errors.ts'
import { type Job, shapeOf, type Timestamp } from '../../job.ts'
import { thenAssign } from './claim-rules.ts'
import { get, set, size } from './ordered-map.ts'
import type { QueueCommand, QueueState, Submission, WaitingJob } from './queue-protocol.ts'
import { enqueue, nameKey, type QueueStep, stored } from './queue-state.ts'
import { countSubmission, quotaOf, refuseQuota } from './quota-rules.ts'

export function prepare(
  state: QueueState,
  message: Extract<QueueCommand, { type: 'submit' }>,
  at: Timestamp,
): QueueStep {
  const { draft, client, replyTo } = message
  const refusal = refuseSubmit(state, client, at)
  if (refusal) return [state, [{ do: 'answerSubmit', to: replyTo, answer: refusal }]]
  return [state, [{ do: 'prepareSubmission', draft, client, replyTo }]]
}

export function admit(state: QueueState, submission: Submission, at: Timestamp): QueueStep {
  const { jobId, request, client, webhook, replyTo } = submission
  const refusal = refuseSubmit(state, client, at) ?? refuseName(state, submission)
  if (refusal) return [state, [{ do: 'answerSubmit', to: replyTo, answer: refusal }]]

  const seq = state.nextSeq
  const { filename } = request
  const { name: owner } = client
  // Kept for no other end than to be counted by.
  const address = owner === null && state.settings.jobsPerHour > 0 ? client.address : null
  const waiting: WaitingJob = {
    jobId,
    owner,
    seq,
    epoch: 0,
    attempts: 0,
    shape: shapeOf(request),
    ...(filename && { filename }),
  }
  const queued = {
    ...enqueue(countSubmission(state, client, at), waiting),
    nextSeq: seq + 1,
    names: filename ? set(state.names, nameKey(filename), jobId) : state.names,
  }
  const job: Job = {
    id: jobId,
    seq,
    request,
    owner,
    submittedAt: at,
    epoch: 0,
    attempts: 0,
    state: { status: 'queued' },
  }
  const toTell = webhook && { webhook }
  const quota = quotaOf(queued, client, at)
  const answer = { job, position: size(queued.waiting), ...(quota && { quota }), ...toTell }
  return thenAssign(
    [
      queued,
      [
        stored({ op: 'submit', jobId, seq, request, owner, address, ...toTell, at }),
        { do: 'answerSubmit', to: replyTo, answer },
        { do: 'logStatus', jobId, status: 'queued', epoch: 0 },
      ],
    ],
    at,
  )
}

function refuseSubmit(state: QueueState, client: Client, at: Timestamp): RefusalError | undefined {
  const { open, hasRoom, waiting, settings } = state
  if (!open)
    return new RefusalError('shutting_down', 'The service is stopping and takes no new jobs.')
  if (!hasRoom) {
    return new RefusalError(
      'disk_full',
      'There is too little room on the disk (MIN_FREE_DISK_MB) to take a job; make room, or try again later.',
    )
  }
  if (size(waiting) < settings.maxQueue) return refuseQuota(state, client, at)
  return new RefusalError(
    'queue_full',
    `${settings.maxQueue} jobs are waiting already (MAX_QUEUE); try again when some have ended.`,
  )
}

function refuseName(
  state: QueueState,
  { request, nameTaken }: Submission,
): RefusalError | undefined {
  const { filename } = request
  if (!filename) return undefined
  if (!nameTaken && get(state.names, nameKey(filename)) === undefined) return undefined
  return new RefusalError(
    'filename_taken',
    `filename: "${filename}" exists already or is promised to another job; choose another name or leave it out.`,
    { field: 'filename' },
  )
}
