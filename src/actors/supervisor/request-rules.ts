/**
 * What an operator may ask for. A request concerns one child: those who depend on it run on, as in
 * OTP. Unlike OTP's, a restart is not refused to a child that runs or waits for its restart.
 */
import { causeOf } from '../../domain/client.ts'
import { advance, tellToStop, thenAdvance, toStop } from './order-rules.ts'
import type {
  ChildState,
  RestartAnswer,
  SupervisorCommand,
  SupervisorState,
} from './supervisor-protocol.ts'
import { findChild, recordOf, type SupervisorStep, withChild } from './supervisor-state.ts'

type Request<Type> = Extract<SupervisorCommand, { type: Type }>

/** Once only: a second one starts no second lives, nor anybody whom an operator has terminated. */
export function startAll(state: SupervisorState): SupervisorStep {
  const isAtRest = state.children.every(
    ({ phase, incarnation }) => phase === 'terminated' && incarnation === 0,
  )
  if (!isAtRest || state.shutdown) return [state, []]
  return advance({
    ...state,
    children: state.children.map((child) => ({ ...recordOf(child), phase: 'restarting' })),
  })
}

/** Of a running child by stopping it first, of any other with a clean record and without delay. */
export function restartChild(
  state: SupervisorState,
  request: Request<'restartChild'>,
): SupervisorStep {
  const { id, replyTo } = request
  const answer = (answer: RestartAnswer) => ({ do: 'answerRestart', to: replyTo, answer }) as const
  const child = findChild(state, id)
  if (!child) return [state, [answer('no_such_child')]]
  if (state.shutdown) return [state, [answer('shutting_down')]]
  const [next, effects] = restart(state, child)
  const isHeld = findChild(next, id)?.phase === 'restarting'
  const { incarnation } = child
  const event = { type: 'childRestartAsked', id, incarnation, ...causeOf(request) } as const
  return [next, [{ do: 'report', event }, ...effects, answer(isHeld ? 'held' : 'restarting')]]
}

function restart(state: SupervisorState, child: ChildState): SupervisorStep {
  switch (child.phase) {
    case 'starting':
    case 'running':
      return tellToStop(state, toStop(child, 'restarting'))
    case 'stopping':
      return [withChild(state, { ...child, next: 'restarting' }), []]
    default: {
      const clean = { ...recordOf(child), restartedAt: [], waits: 0 }
      return advance(withChild(state, { ...clean, phase: 'restarting' }))
    }
  }
}

/** Releases those whom it held back, for they are meant to do without it now. */
export function terminateChild(
  state: SupervisorState,
  { id, replyTo }: Request<'terminateChild'>,
): SupervisorStep {
  const child = findChild(state, id)
  if (!child) return [state, [{ do: 'answerTerminate', to: replyTo, answer: 'no_such_child' }]]
  switch (child.phase) {
    case 'starting':
    case 'running':
      return tellToStop(state, { ...toStop(child, 'terminated'), waiting: [replyTo] })
    case 'stopping': {
      const waiting = [...child.waiting, replyTo]
      return [withChild(state, { ...child, next: 'terminated', waiting }), []]
    }
    default:
      return thenAdvance([
        withChild(state, { ...recordOf(child), phase: 'terminated' }),
        [{ do: 'answerTerminate', to: replyTo, answer: 'terminated' }],
      ])
  }
}

export function shutdown(state: SupervisorState, { replyTo }: Request<'shutdown'>): SupervisorStep {
  return advance({
    ...state,
    children: state.children.map(toTerminate),
    shutdown: { waiting: [...(state.shutdown?.waiting ?? []), replyTo] },
  })
}

function toTerminate(child: ChildState): ChildState {
  switch (child.phase) {
    case 'starting':
    case 'running':
      return toStop(child, 'terminated')
    case 'stopping':
      return { ...child, next: 'terminated' }
    case 'backoff':
    case 'restarting':
      return { ...recordOf(child), phase: 'terminated' }
    case 'given_up':
    case 'terminated':
      return child
  }
}
