/** Which jobs are taken. */
import { RefusalError } from '../../errors.ts'
import type { Job, Timestamp } from '../../job.ts'
import { thenAssign } from './claim-rules.ts'
import { get, set, size } from './ordered-map.ts'
import type { QueueCommand, QueueState, Submission, WaitingJob } from './queue-protocol.ts'
import { enqueue, nameKey, type QueueStep, stored } from './queue-state.ts'

export function prepare(
  state: QueueState,
  message: Extract<QueueCommand, { type: 'submit' }>,
): QueueStep {
  const { draft, client, replyTo } = message
  const refusal = refuseSubmit(state)
  if (refusal) return [state, [{ do: 'answerSubmit', to: replyTo, answer: refusal }]]
  return [state, [{ do: 'prepareSubmission', draft, client, replyTo }]]
}

export function admit(state: QueueState, submission: Submission, at: Timestamp): QueueStep {
  const { jobId, request, client, webhook, replyTo } = submission
  const refusal = refuseSubmit(state) ?? refuseName(state, submission)
  if (refusal) return [state, [{ do: 'answerSubmit', to: replyTo, answer: refusal }]]

  const seq = state.nextSeq
  const { filename } = request
  const { name: owner } = client
  const address = owner === null ? client.address : null
  const waiting: WaitingJob = {
    jobId,
    owner,
    seq,
    epoch: 0,
    attempts: 0,
    ...(filename && { filename }),
  }
  const queued = {
    ...enqueue(state, waiting),
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
  const answer = { job, position: size(queued.waiting), ...toTell }
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

function refuseSubmit({ open, hasRoom, waiting, settings }: QueueState): RefusalError | undefined {
  if (!open)
    return new RefusalError('shutting_down', 'The service is stopping and takes no new jobs.')
  if (!hasRoom) {
    return new RefusalError(
      'disk_full',
      'There is too little room on the disk (MIN_FREE_DISK_MB) to take a job; make room, or try again later.',
    )
  }
  if (size(waiting) < settings.maxQueue) return undefined
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
