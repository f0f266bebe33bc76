/** How jobs are canceled, and who is told when they are. */
import { type Caused, causeOf, covers, type Scope } from '../../domain/client.ts'
import type { JobId, Timestamp } from '../../domain/job.ts'
import { answer } from '../actor.ts'
import { values } from '../ordered-map.ts'
import { forgetName } from './name-rules.ts'
import type { QueueEffect } from './queue-effects.ts'
import type { QueueCommand } from './queue-protocol.ts'
import { type CancelTicket, type QueueState, waitingJob } from './queue-state.ts'
import { dequeue, type QueueStep, stored, without, withoutKey, withRunning } from './queue-steps.ts'

export function cancel(
  state: QueueState,
  message: Extract<QueueCommand, { type: 'cancel' }>,
  at: Timestamp,
): QueueStep {
  const { selection, scope, replyTo } = message
  const cause = causeOf(message)
  const selected =
    'ids' in selection ? [...new Set(selection.ids)] : active(state, selection.status, scope)
  const isOneOf = (job: { jobId: JobId; owner: string | null } | undefined) =>
    job !== undefined && covers(scope, job)
  const queued = selected.filter((id) => isOneOf(waitingJob(state, id)))
  const running = selected.filter((id) => isOneOf(state.running.get(id)))
  const known = new Set([...queued, ...running])
  const rest = selected.filter((id) => !known.has(id))

  let now = state
  const effects: QueueEffect[] = []
  for (const jobId of queued) {
    const [next, more] = cancelQueued(now, jobId, at, cause)
    now = next
    effects.push(...more)
  }
  for (const jobId of running) {
    const [next, more] = cancelRunning(now, jobId, at, cause)
    now = next
    effects.push(...more)
  }
  if (running.length === 0) {
    return [now, [...effects, answer(replyTo, { canceled: queued, canceling: [], rest })]]
  }
  const ticket = now.nextTicket
  const open: CancelTicket = { replyTo, waitingFor: new Set(running), canceled: queued, rest }
  return [
    { ...now, nextTicket: ticket + 1, tickets: new Map([...now.tickets, [ticket, open]]) },
    [...effects, { do: 'expectCancel', ticket, withinMs: now.settings.cancelWaitMs }],
  ]
}

function active(
  { waiting, running }: QueueState,
  status: readonly ('queued' | 'running')[],
  scope: Scope,
): JobId[] {
  const selected = [
    ...(status.includes('queued') ? values(waiting) : []),
    ...(status.includes('running') ? running.values() : []),
  ]
  return selected.filter((job) => covers(scope, job)).map(({ jobId }) => jobId)
}

function cancelQueued(state: QueueState, jobId: JobId, at: Timestamp, cause: Caused): QueueStep {
  const job = waitingJob(state, jobId)
  if (!job) return [state, []]
  const { epoch } = job
  return [
    forgetName(dequeue(state, jobId, job.seq), job.filename),
    [
      stored({ op: 'finish', jobId, epoch, outcome: { status: 'canceled' }, at }),
      { do: 'discardWork', jobId },
      { do: 'logStatus', jobId, status: 'canceled', epoch, ...cause },
    ],
  ]
}

/** The wish is on disk before anything is stopped: from then on the job can only end as canceled. */
function cancelRunning(state: QueueState, jobId: JobId, at: Timestamp, cause: Caused): QueueStep {
  const job = state.running.get(jobId)
  if (!job || job.cancelRequested) return [state, []]
  const { epoch, attempts: attempt, gpu } = job
  const cancelRequested = true
  const stop: QueueEffect =
    job.phase === 'generating'
      ? { do: 'stopGeneration', jobId, epoch, gpu, reason: 'canceled' }
      : { do: 'abortConversion', jobId, epoch }
  return [
    withRunning(state, { ...job, cancelRequested }),
    [
      stored({ op: 'requestCancel', jobId, epoch, at }),
      stop,
      { do: 'logStatus', jobId, status: 'running', epoch, attempt, gpu, cancelRequested, ...cause },
    ],
  ]
}

/** One of the jobs somebody waits for is canceled. */
export function settleTickets(state: QueueState, jobId: JobId): QueueStep {
  return updateTickets(state, jobId, (ticket) => ({
    ...ticket,
    canceled: [...ticket.canceled, jobId],
  }))
}

/** A job that ended otherwise will never be canceled: nobody waits for it any longer. */
export function dropFromTickets(state: QueueState, jobId: JobId): QueueStep {
  return updateTickets(state, jobId, (ticket) => ({ ...ticket, rest: [...ticket.rest, jobId] }))
}

function updateTickets(
  state: QueueState,
  jobId: JobId,
  note: (ticket: CancelTicket) => CancelTicket,
): QueueStep {
  const tickets = new Map(state.tickets)
  const effects: QueueEffect[] = []
  for (const [number, ticket] of state.tickets) {
    if (!ticket.waitingFor.has(jobId)) continue
    const noted = { ...note(ticket), waitingFor: without(ticket.waitingFor, jobId) }
    tickets.set(number, noted)
    if (noted.waitingFor.size > 0) continue
    tickets.delete(number)
    effects.push(answerTicket(noted))
  }
  return [{ ...state, tickets }, effects]
}

export function answerOverdueTicket(state: QueueState, number: number): QueueStep {
  const ticket = state.tickets.get(number)
  if (!ticket) return [state, []]
  return [{ ...state, tickets: withoutKey(state.tickets, number) }, [answerTicket(ticket)]]
}

const answerTicket = ({ replyTo, canceled, waitingFor, rest }: CancelTicket): QueueEffect =>
  answer(replyTo, { canceled, canceling: [...waitingFor], rest })
