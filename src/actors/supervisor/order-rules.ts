/** In which order children start and stop, and who has to wait for whom. */
import type { ChildState, SupervisorEffect, SupervisorState } from './supervisor-protocol.ts'
import { recordOf, type SupervisorStep, withChild } from './supervisor-state.ts'

/** Does whatever nobody has to wait for any more: the end of every step that changes a phase. */
export function advance(state: SupervisorState): SupervisorStep {
  const [stopped, stops] = stopLast(state)
  const [started, starts] = startFree(stopped)
  const [next, answers] = answerShutdown(started)
  return [next, [...stops, ...starts, ...answers]]
}

export const thenAdvance = ([state, effects]: SupervisorStep): SupervisorStep => {
  const [next, more] = advance(state)
  return [next, [...effects, ...more]]
}

/** Those that the strategy stops with a failed child: they start again with it, or never if temporary. */
export function stopBystanders(state: SupervisorState, id: string): SupervisorState {
  const failed = state.children.findIndex(({ spec }) => spec.id === id)
  return {
    ...state,
    children: state.children.map((child, index) => {
      const isBystander =
        state.strategy === 'one_for_all'
          ? index !== failed
          : state.strategy === 'rest_for_one' && index > failed
      if (!isBystander || (child.phase !== 'starting' && child.phase !== 'running')) return child
      return toStop(child, child.spec.restart === 'temporary' ? 'terminated' : 'restarting')
    }),
  }
}

/** It will be told when it is its turn. */
export const toStop = (
  child: ChildState,
  next: 'restarting' | 'terminated',
): Extract<ChildState, { phase: 'stopping' }> => ({
  ...recordOf(child),
  phase: 'stopping',
  told: false,
  next,
  waiting: [],
})

export function tellToStop(
  state: SupervisorState,
  child: Extract<ChildState, { phase: 'stopping' }>,
): SupervisorStep {
  const { incarnation, spec } = child
  const { id, shutdown } = spec
  const next = withChild(state, { ...child, told: true })
  if (shutdown === 'brutal_kill') return [next, [{ do: 'kill', id, incarnation }]]
  const stop = { do: 'stop', id, incarnation } as const
  if (shutdown === Number.POSITIVE_INFINITY) return [next, [stop]]
  return [next, [stop, { do: 'expectEnd', id, incarnation, withinMs: shutdown }]]
}

/** One at a time, last started first. */
function stopLast(state: SupervisorState): SupervisorStep {
  const last = state.children.findLast((child) => child.phase === 'stopping')
  return last && !last.told ? tellToStop(state, last) : [state, []]
}

/** One after the other, first in start order first: each may hold back those after it. */
function startFree(state: SupervisorState): SupervisorStep {
  let now = state
  const effects: SupervisorEffect[] = []
  for (const child of state.children) {
    if (child.phase !== 'restarting' || isHeldBack(now, child)) continue
    const incarnation = child.incarnation + 1
    now = withChild(now, { ...recordOf(child), incarnation, phase: 'starting' })
    effects.push({ do: 'start', id: child.spec.id, incarnation })
  }
  return [now, effects]
}

/**
 * Whether somebody must stop or start before it. A child that was given up holds back those who
 * cannot do without it; one that was terminated does not, for that is an operator's will.
 */
function isHeldBack({ strategy, children }: SupervisorState, child: ChildState): boolean {
  if (strategy === 'one_for_one') return false
  const index = children.indexOf(child)
  const isDown = ({ phase }: ChildState) => phase === 'backoff' || phase === 'given_up'
  const isStopping = ({ phase }: ChildState) => phase === 'stopping'
  const isToStart = ({ phase }: ChildState) => phase === 'starting' || phase === 'restarting'
  return children.some(
    (other, at) =>
      isStopping(other) ||
      (at < index && isToStart(other)) ||
      (at !== index && (at < index || strategy === 'one_for_all') && isDown(other)),
  )
}

/** After the last child has ended, everybody who asked. */
function answerShutdown(state: SupervisorState): SupervisorStep {
  if (!state.shutdown || state.children.some(({ phase }) => phase === 'stopping'))
    return [state, []]
  return [
    { ...state, shutdown: { waiting: [] } },
    state.shutdown.waiting.map((to) => ({ do: 'answerShutdown', to })),
  ]
}
