/** Restart of one child by an operator. Unlike OTP's, it is allowed in every phase of the child. */
import { causeOf } from '../../domain/client.ts'
import { answer } from '../actor.ts'
import type { ChildState, SupervisorCommand, SupervisorState } from './supervisor-protocol.ts'
import { findChild, type SupervisorStep, startAgain, stop } from './supervisor-state.ts'

export function restartChild(
  state: SupervisorState,
  request: Extract<SupervisorCommand, { type: 'restartChild' }>,
): SupervisorStep {
  const { id, replyTo } = request
  const child = findChild(state, id)
  if (!child) return [state, [answer(replyTo, 'no_such_child')]]
  if (state.shutdown) return [state, [answer(replyTo, 'shutting_down')]]
  const { incarnation } = child
  const event = { type: 'childRestartAsked', id, incarnation, ...causeOf(request) } as const
  const [next, effects] = restart(state, child)
  return [next, [{ do: 'report', event }, ...effects, answer(replyTo, 'restarting')]]
}

/** Stops a running child first. Starts any other without delay, and forgets its failures. */
function restart(state: SupervisorState, child: ChildState): SupervisorStep {
  switch (child.phase) {
    case 'starting':
    case 'running':
      return stop(state, child)
    case 'stopping':
      return [state, []]
    case 'backoff':
    case 'given_up':
    case 'terminated':
      return startAgain(state, { ...child, restartedAt: [], waits: 0 })
  }
}
