import { ended } from './ending-rules.ts'
import { advance } from './order-rules.ts'
import { restartChild, shutdown, startAll, terminateChild } from './request-rules.ts'
import type {
  ChildState,
  SupervisorCommand,
  SupervisorNews,
  SupervisorState,
} from './supervisor-protocol.ts'
import { findChild, recordOf, type SupervisorStep, withChild } from './supervisor-state.ts'

/**
 * Every rule of supervision: OTP's strategies, restart types and restart intensity, Akka's back-off.
 * `now` is monotonic milliseconds; `random` is drawn from [0, 1).
 */
export function transition(
  state: SupervisorState,
  message: SupervisorCommand | SupervisorNews,
  now: number,
  random: number,
): SupervisorStep {
  switch (message.type) {
    case 'startAll':
      return startAll(state)
    case 'restartChild':
      return restartChild(state, message)
    case 'terminateChild':
      return terminateChild(state, message)
    case 'shutdown':
      return shutdown(state, message)
    case 'childStarted':
      return onChild(state, message, (child) =>
        child.phase === 'starting'
          ? advance(withChild(state, { ...recordOf(child), phase: 'running', startedAt: now }))
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
        child.phase === 'backoff'
          ? advance(withChild(state, { ...recordOf(child), phase: 'restarting' }))
          : [state, []],
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
