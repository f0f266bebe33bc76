/** Rules for a child that has ended: it is restarted, given up, or stays terminated. */
import { format } from 'node:util'
import type { Ending } from '../actor.ts'
import { continueShutdown } from './shutdown-rules.ts'
import type {
  ChildSpec,
  ChildState,
  SupervisorEffect,
  SupervisorState,
} from './supervisor-protocol.ts'
import {
  recentRestarts,
  recordOf,
  type SupervisorStep,
  startAgain,
  withChild,
} from './supervisor-state.ts'

/** `now` is monotonic milliseconds; `random` is drawn from [0, 1). */
export function ended(
  state: SupervisorState,
  child: ChildState,
  ending: Ending,
  now: number,
  random: number,
): SupervisorStep {
  switch (child.phase) {
    case 'starting':
    case 'running':
      return state.shutdown
        ? stopped(state, child, ending)
        : failed(state, child, ending, now, random)
    case 'stopping':
      return stopped(state, child, ending)
    case 'backoff':
    case 'given_up':
    case 'terminated':
      return [state, []]
  }
}

function stopped(state: SupervisorState, child: ChildState, ending: Ending): SupervisorStep {
  const [next, effects] = state.shutdown
    ? continueShutdown(withChild(state, { ...recordOf(child), phase: 'terminated' }))
    : startAgain(state, child)
  return [next, [reportStop(child, ending), ...effects]]
}

/** A failed start counts as a restart too, as in OTP, and waits as long as a crash. */
function failed(
  state: SupervisorState,
  child: ChildState,
  { reason, error, lastMessage, dropped }: Ending,
  now: number,
  random: number,
): SupervisorStep {
  const { spec, incarnation } = child
  const { id, significant } = spec
  const record = recordOf(child)
  const recent = recentRestarts(child, now)
  const itself = reason === 'killed' ? 'was killed' : 'ended by itself'
  const what = error instanceof Error ? error.message : format('%s', error ?? itself)

  if (recent.length >= spec.intensity) {
    const given = { ...record, restartedAt: recent, phase: 'given_up', error: what } as const
    return [
      withChild(state, given),
      [{ do: 'report', event: { type: 'childGivenUp', id, incarnation, error, significant } }],
    ]
  }

  const waits = hasRunForLong(child, now) ? 0 : child.waits
  const restartedAt = [...recent, now]
  const afterMs = waitMs(spec, waits, random)
  const waiting = {
    ...record,
    restartedAt,
    waits: waits + 1,
    phase: 'backoff',
    error: what,
  } as const
  const event = {
    type: 'childFailed',
    id,
    incarnation,
    error,
    ...(lastMessage !== undefined && { lastMessage }),
    dropped,
    restartInMs: afterMs,
  } as const
  return [
    withChild(state, waiting),
    [
      { do: 'report', event },
      { do: 'restartLater', id, incarnation, afterMs },
    ],
  ]
}

const hasRunForLong = (child: ChildState, now: number): boolean =>
  child.phase === 'running' && now - child.startedAt >= child.spec.backoff.resetAfterMs

function waitMs({ backoff }: ChildSpec, waits: number, random: number): number {
  const { minMs, maxMs, factor, jitter } = backoff
  return Math.min(maxMs, minMs * factor ** waits) * (1 + jitter * random)
}

function reportStop({ spec, incarnation }: ChildState, ending: Ending): SupervisorEffect {
  const { reason, lastMessage, dropped } = ending
  return {
    do: 'report',
    event: {
      type: 'childStopped',
      id: spec.id,
      incarnation,
      ...(reason === 'killed' && { killed: true }),
      ...('error' in ending && { error: ending.error }),
      ...(lastMessage !== undefined && { lastMessage }),
      dropped,
    },
  }
}
