/** Which jobs are taken. */
import { type Client, causeOf } from '../../../domain/client.ts'
import { RefusalError } from '../../../domain/errors.ts'
import { type Job, shapeOf, type Timestamp } from '../../../domain/job.ts'
import { answer, answerFailed } from '../../actor.ts'
import { size } from '../../ordered-map.ts'
import { howToMakeRoom } from '../environment-state.ts'
import { fullNode } from '../nodes.ts'
import type { QueueEffect } from '../queue-effects.ts'
import type { QueueCommand, QueueNews, Submission } from '../queue-protocol.ts'
import type { QueueState, WaitingJob } from '../queue-state.ts'
import { thenAssign } from './claim-rules.ts'
import { holderOf, promiseName, releaseName, reserveName } from './name-rules.ts'
import { enqueue, type QueueStep, stored } from './queue-steps.ts'
import { countSubmission, quotaOf, refuseQuota } from './quota-rules.ts'
import { answerRepeated, findEarlier, keyLifeMs, mayBeRepeated, remember } from './repeat-rules.ts'

export function prepare(
  state: QueueState,
  message: Extract<QueueCommand, { type: 'submit' }>,
  steady: Timestamp,
): QueueStep {
  const { type: _, ...submission } = message
  const { client, draft, repetition, replyTo } = submission
  const { filename } = draft
  const reserved = filename === undefined ? state : reserveName(state, filename, replyTo)
  // What was taken before is answered for, whatever would become of a new one.
  const refusal = mayBeRepeated(repetition)
    ? undefined
    : (refuseSubmit(state, client, steady) ?? (reserved ? undefined : nameTaken(filename)))
  if (refusal) return [state, [answer(replyTo, refusal)]]
  return [reserved ?? state, [{ do: 'prepareSubmission', ...submission }]]
}

export function admit(
  state: QueueState,
  submission: Submission,
  at: Timestamp,
  steady: Timestamp,
): QueueStep {
  const { jobId, request, client, identity, webhook, replyTo } = submission
  const earlier = findEarlier(state.recent, submission, steady)
  if (earlier) return notTaken(state, submission, answerRepeated(earlier, submission))
  const refusal = refuseSubmit(state, client, steady) ?? refuseName(state, submission)
  if (refusal) return notTaken(state, submission, answer(replyTo, refusal))
  if (hasLostName(state, submission)) {
    const why = 'the queue has lost the reservation of the filename'
    return notTaken(state, submission, answerFailed(replyTo, why))
  }

  const seq = state.nextSeq
  const { filename } = request
  const { name: owner } = client
  // Kept for no other end than to be counted by.
  const address = owner === null && state.settings.jobsPerHour > 0 ? client.address : null
  const waiting: WaitingJob = {
    jobId,
    owner,
    seq,
    submittedAt: at,
    epoch: 0,
    attempts: 0,
    shape: shapeOf(request),
    ...(filename && { filename }),
  }
  const queued = {
    ...promiseName(enqueue(countSubmission(state, client, steady), waiting), filename, jobId),
    nextSeq: seq + 1,
    recent: remember(state.recent, submission, steady),
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
  const quota = quotaOf(queued, client, steady)
  const taken = { job, position: size(queued.waiting), ...(quota && { quota }), ...toTell }
  return thenAssign(
    [
      queued,
      [
        stored({ op: 'submit', jobId, seq, request, owner, address, ...toTell, at }),
        stored({ op: 'remember', jobId, identity, keepSince: steady - keyLifeMs, at: steady }),
        answer(replyTo, taken),
        { do: 'logStatus', jobId, status: 'queued', epoch: 0, ...causeOf(submission) },
      ],
    ],
    at,
  )
}

/** A submission that is not taken leaves neither a reserved name nor an image. */
export const notTaken = (
  state: QueueState,
  { jobId, request, replyTo }: Submission,
  reply: QueueEffect,
): QueueStep => [
  releaseName(state, request.filename, replyTo),
  request.image ? [reply, { do: 'discardWork', jobId }] : [reply],
]

export const notPrepared = (
  state: QueueState,
  { filename, error, replyTo }: Extract<QueueNews, { type: 'preparationFailed' }>,
): QueueStep => [
  releaseName(state, filename, replyTo),
  [answerFailed(replyTo, 'the submission could not be prepared', error)],
]

function refuseSubmit(state: QueueState, client: Client, at: Timestamp): RefusalError | undefined {
  const { open, waiting, running, settings } = state
  if (!open)
    return new RefusalError('shutting_down', 'The service is stopping and takes no new jobs.')
  const full = fullNode(state)
  if (full) {
    return new RefusalError(
      'disk_full',
      `No job can be taken for now. ${howToMakeRoom(full.shortage)} Or try again later.`,
    )
  }
  if (size(waiting) < settings.maxQueue) return refuseQuota(state, client, at)
  return new RefusalError(
    'queue_full',
    `${settings.maxQueue} jobs are waiting already (MAX_QUEUE); try again when some have ended.`,
    { awaits: [...running.keys()] },
  )
}

function refuseName(
  state: QueueState,
  { request, nameTaken: isTaken, replyTo }: Submission,
): RefusalError | undefined {
  const { filename } = request
  if (filename === undefined) return undefined
  return isTaken || holderOf(state, filename, replyTo) === 'another'
    ? nameTaken(filename)
    : undefined
}

const hasLostName = (state: QueueState, { request: { filename }, replyTo }: Submission): boolean =>
  filename !== undefined && holderOf(state, filename, replyTo) === 'nobody'

const nameTaken = (filename: string | undefined): RefusalError =>
  new RefusalError(
    'filename_taken',
    `filename: "${filename}" exists already or is promised to another job; choose another name or leave it out.`,
    { field: 'filename' },
  )
