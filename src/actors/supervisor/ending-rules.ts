/** What becomes of a child that has ended: it is restarted, given up, or left as it is. */
import { format } from 'node:util'
import type { Ending } from '../actor.ts'
import { stopBystanders, thenAdvance } from './order-rules.ts'
import type {
  ChildSpec,
  ChildState,
  SupervisorEffect,
  SupervisorState,
} from './supervisor-protocol.ts'
import { recordOf, type SupervisorStep, withChild } from './supervisor-state.ts'

export function ended(
  state: SupervisorState,
  child: ChildState,
  ending: Ending,
  now: number,
  random: number,
): SupervisorStep {
  switch (child.phase) {
    case 'stopping': {
      const { next, waiting } = child
      const answers = waiting.map(
        (to) => ({ do: 'answerTerminate', to, answer: 'terminated' }) as const,
      )
      return thenAdvance([
        withChild(state, { ...recordOf(child), phase: next }),
        [reportStop(child, ending), ...answers],
      ])
    }
    case 'starting':
    case 'running':
      if (isAccepted(child.spec, ending)) {
        return thenAdvance([
          withChild(state, { ...recordOf(child), phase: 'terminated' }),
          [reportStop(child, ending)],
        ])
      }
      return thenAdvance(failed(state, child, ending, now, random))
    default:
      return [state, []]
  }
}

const isAccepted = ({ restart }: ChildSpec, { reason }: Ending): boolean =>
  restart === 'temporary' || (restart === 'transient' && reason === 'stopped')

/** A failed start counts as a restart too, as in OTP; and it waits its turn like any other. */
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
  const recent = child.restartedAt.filter((at) => now - at <= spec.periodMs)
  const itself = reason === 'killed' ? 'was killed' : 'ended by itself'
  const what = error instanceof Error ? error.message : format('%s', error ?? itself)

  if (recent.length >= spec.intensity) {
    const given = { ...record, restartedAt: recent, phase: 'given_up', error: what } as const
    return [
      stopBystanders(withChild(state, given), id),
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
    stopBystanders(withChild(state, waiting), id),
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
