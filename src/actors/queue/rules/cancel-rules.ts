/** How jobs are canceled, and who is told when they are. */
import { type Caused, causeOf, covers, type Scope } from '../../../domain/client.ts'
import type { JobId, Timestamp } from '../../../domain/job.ts'
import { answer } from '../../actor.ts'
import { values } from '../../ordered-map.ts'
import { nodeNameOf } from '../nodes.ts'
import type { QueueEffect } from '../queue-effects.ts'
import type { QueueCommand } from '../queue-protocol.ts'
import { type CancelTicket, type QueueState, waitingJob } from '../queue-state.ts'
import { forgetName } from './name-rules.ts'
import {
  dequeue,
  type QueueStep,
  stored,
  without,
  withoutKey,
  withoutSuspect,
  withRunning,
} from './queue-steps.ts'
import { outcomeOfCancel, withoutLost } from './unaccounted.ts'

/** Bounds the time that other messages and commits wait for a command that cancels thousands. */
export const maxCancelsPerCommit = 100

/** Selects the jobs now: later ones are not meant. Jobs beyond the first commit wait for their turn. */
export function cancel(
  state: QueueState,
  message: Extract<QueueCommand, { type: 'cancel' }>,
  at: Timestamp,
): QueueStep {
  const { selection, scope, replyTo } = message
  const selected =
    'ids' in selection ? [...new Set(selection.ids)] : active(state, selection.status, scope)
  const ticket: CancelTicket = {
    ...{ replyTo, scope, cause: causeOf(message), selected, next: 0 },
    ...{ waitingFor: new Set(), canceled: [], rest: [] },
  }
  return cancelGroup(state, { number: state.nextTicket, ticket }, at)
}

/** The group before is stored: the next one follows. */
export function continueCancel(state: QueueState, number: number, at: Timestamp): QueueStep {
  const ticket = state.tickets.get(number)
  return ticket ? cancelGroup(state, { number, ticket }, at) : [state, []]
}

function cancelGroup(
  state: QueueState,
  { number, ticket }: Readonly<{ number: number; ticket: CancelTicket }>,
  at: Timestamp,
): QueueStep {
  const { scope, cause } = ticket
  const group = ticket.selected.slice(ticket.next, ticket.next + maxCancelsPerCommit)
  const isOneOf = (job: { jobId: JobId; owner: string | null } | undefined) =>
    job !== undefined && covers(scope, job)
  const queued = group.filter((id) => isOneOf(waitingJob(state, id)))
  const running = group.filter((id) => isOneOf(state.running.get(id)))
  const canceled = queued.filter((id) => outcomeOfCancel(state, id).status === 'canceled')
  const known = new Set([...canceled, ...running])

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
  const done: CancelTicket = {
    ...ticket,
    next: ticket.next + group.length,
    waitingFor: new Set([...ticket.waitingFor, ...running]),
    canceled: [...ticket.canceled, ...canceled],
    rest: [...ticket.rest, ...group.filter((id) => !known.has(id))],
  }
  if (isSettled(done)) {
    return [{ ...now, tickets: withoutKey(now.tickets, number) }, [...effects, answerTicket(done)]]
  }
  return [
    {
      ...now,
      nextTicket: Math.max(now.nextTicket, number + 1),
      tickets: new Map([...now.tickets, [number, done]]),
    },
    [
      ...effects,
      hasMore(done)
        ? { do: 'continueCancel', ticket: number }
        : { do: 'expectCancel', ticket: number, withinMs: now.settings.cancelWaitMs },
    ],
  ]
}

const hasMore = ({ selected, next }: CancelTicket): boolean => next < selected.length

const isSettled = (ticket: CancelTicket): boolean =>
  ticket.waitingFor.size === 0 && !hasMore(ticket)

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
  const outcome = outcomeOfCancel(state, jobId)
  return [
    forgetName(dequeue(withoutLost(withoutSuspect(state, jobId), jobId), jobId, job.seq), {
      filename: job.filename,
      jobId,
    }),
    [
      stored({ op: 'finish', jobId, epoch, outcome, at }),
      { do: 'discardWork', jobId },
      { do: 'logStatus', jobId, status: outcome.status, epoch, ...cause },
    ],
  ]
}

/** The wish is on disk before anything is stopped: from then on the job can only end as canceled. */
function cancelRunning(state: QueueState, jobId: JobId, at: Timestamp, cause: Caused): QueueStep {
  const job = state.running.get(jobId)
  if (!job || job.cancelRequested) return [state, []]
  const { epoch, attempts: attempt, gpu, filename } = job
  const cancelRequested = true
  const stop: QueueEffect =
    job.phase === 'generating'
      ? { do: 'stopGeneration', jobId, epoch, gpu, reason: 'canceled' }
      : { do: 'abortConversion', node: nodeNameOf(state, gpu), jobId, epoch, filename }
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
    if (!isSettled(noted)) continue
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
