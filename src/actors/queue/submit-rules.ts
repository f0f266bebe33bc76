/** Which jobs are taken. */
import { type Client, causeOf } from '../../domain/client.ts'
import { RefusalError } from '../../domain/errors.ts'
import { type Job, shapeOf, type Timestamp } from '../../domain/job.ts'
import { get, set, size } from '../ordered-map.ts'
import { thenAssign } from './claim-rules.ts'
import type {
  QueueCommand,
  QueueEffect,
  QueueState,
  Submission,
  WaitingJob,
} from './queue-protocol.ts'
import { enqueue, nameKey, type QueueStep, stored } from './queue-state.ts'
import { countSubmission, quotaOf, refuseQuota } from './quota-rules.ts'
import { answerRepeated, findEarlier, keyLifeMs, mayBeRepeated, remember } from './repeat-rules.ts'

export function prepare(
  state: QueueState,
  message: Extract<QueueCommand, { type: 'submit' }>,
  at: Timestamp,
): QueueStep {
  const { type: _, ...submission } = message
  const { client, repetition, replyTo } = submission
  // What was taken before is answered for, whatever would become of a new one.
  const refusal = mayBeRepeated(repetition) ? undefined : refuseSubmit(state, client, at)
  if (refusal) return [state, [{ do: 'answerSubmit', to: replyTo, answer: refusal }]]
  return [state, [{ do: 'prepareSubmission', ...submission }]]
}

export function admit(state: QueueState, submission: Submission, at: Timestamp): QueueStep {
  const { jobId, request, client, identity, webhook, replyTo } = submission
  const earlier = findEarlier(state.recent, submission, at)
  if (earlier) return notTaken(state, submission, answerRepeated(earlier, submission))
  const refusal = refuseSubmit(state, client, at) ?? refuseName(state, submission)
  if (refusal) {
    return notTaken(state, submission, { do: 'answerSubmit', to: replyTo, answer: refusal })
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
    ...enqueue(countSubmission(state, client, at), waiting),
    nextSeq: seq + 1,
    names: filename ? set(state.names, nameKey(filename), jobId) : state.names,
    recent: remember(state.recent, submission, at),
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
        stored({ op: 'remember', jobId, identity, keepSince: at - keyLifeMs, at }),
        { do: 'answerSubmit', to: replyTo, answer },
        { do: 'logStatus', jobId, status: 'queued', epoch: 0, ...causeOf(submission) },
      ],
    ],
    at,
  )
}

/** Its image, if it has one, is there already. */
const notTaken = (
  state: QueueState,
  { jobId, request }: Submission,
  answer: QueueEffect,
): QueueStep => [state, request.image ? [answer, { do: 'discardWork', jobId }] : [answer]]

function refuseSubmit(state: QueueState, client: Client, at: Timestamp): RefusalError | undefined {
  const { open, hasRoom, waiting, running, settings } = state
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
    { awaits: [...running.keys()] },
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
