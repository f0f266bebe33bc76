/** How all children are stopped: one at a time, the last started first. */
import { answer } from '../actor.ts'
import type { ChildState, SupervisorCommand, SupervisorState } from './supervisor-protocol.ts'
import { recordOf, type SupervisorStep, stop } from './supervisor-state.ts'

/** From here on nothing starts. A second shutdown is answered together with the first. */
export const shutdown = (
  state: SupervisorState,
  { replyTo }: Extract<SupervisorCommand, { type: 'shutdown' }>,
): SupervisorStep =>
  continueShutdown({
    children: state.children.map((child) =>
      child.phase === 'backoff' ? { ...recordOf(child), phase: 'terminated' } : child,
    ),
    shutdown: { waiting: [...(state.shutdown?.waiting ?? []), replyTo] },
  })

/** Stops the next child, unless one is stopping that was started later. Answers after the last. */
export function continueShutdown(state: SupervisorState): SupervisorStep {
  if (!state.shutdown) return [state, []]
  const last = state.children.findLast(isActive)
  if (last) return last.phase === 'stopping' ? [state, []] : stop(state, last)
  return [
    { ...state, shutdown: { waiting: [] } },
    state.shutdown.waiting.map((to) => answer(to, 'stopped')),
  ]
}

const isActive = ({ phase }: ChildState): boolean =>
  phase === 'starting' || phase === 'running' || phase === 'stopping'
