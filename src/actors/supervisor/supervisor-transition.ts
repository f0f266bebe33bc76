import { ended } from './ending-rules.ts'
import { restartChild } from './restart-rules.ts'
import { shutdown } from './shutdown-rules.ts'
import type {
  ChildState,
  ChildView,
  SupervisorMessage,
  SupervisorState,
} from './supervisor-protocol.ts'
import {
  findChild,
  recentRestarts,
  recordOf,
  type SupervisorStep,
  startAgain,
  withChild,
} from './supervisor-state.ts'

/**
 * Every rule of supervision: OTP's one_for_one with permanent children, its restart intensity, and
 * Akka's back-off. `now` is monotonic milliseconds; `random` is drawn from [0, 1).
 */
export function transition(
  state: SupervisorState,
  message: SupervisorMessage,
  now: number,
  random: number,
): SupervisorStep {
  switch (message.type) {
    case 'restartChild':
      return restartChild(state, message)
    case 'shutdown':
      return shutdown(state, message)
    case 'whichChildren': {
      const children = state.children.map((child) => viewOf(child, now))
      return [state, [{ do: 'describe', to: message.replyTo, children }]]
    }
    case 'childStarted':
      return onChild(state, message, (child) =>
        child.phase === 'starting'
          ? [withChild(state, { ...recordOf(child), phase: 'running', startedAt: now }), []]
          : [state, []],
      )
    case 'startFailed': {
      const ending = { reason: 'crashed', error: message.error, dropped: 0 } as const
      return onChild(state, message, (child) => ended(state, child, ending, now, random))
    }
    case 'childEnded':
      return onChild(state, message, (child) => ended(state, child, message.ending, now, random))
    case 'restartDue':
      return onChild(state, message, (child) =>
        child.phase === 'backoff' ? startAgain(state, child) : [state, []],
      )
    case 'shutdownOverdue': {
      const { id, incarnation } = message
      return onChild(state, message, (child) =>
        child.phase === 'stopping' ? [state, [{ do: 'kill', id, incarnation }]] : [state, []],
      )
    }
  }
}

/** News about an earlier incarnation comes too late, and is ignored here once for all. */
function onChild(
  state: SupervisorState,
  { id, incarnation }: { id: string; incarnation: number },
  then: (child: ChildState) => SupervisorStep,
): SupervisorStep {
  const child = findChild(state, id)
  return child && child.incarnation === incarnation ? then(child) : [state, []]
}

function viewOf(child: ChildState, now: number): Omit<ChildView, 'mailbox'> {
  const { spec, phase, incarnation } = child
  return {
    id: spec.id,
    phase,
    incarnation,
    restartsInPeriod: recentRestarts(child, now).length,
    ...('error' in child && { error: child.error }),
  }
}
