import { answer, type Ending } from '../../src/actors/actor.ts'
import type { ChildOptions } from '../../src/actors/supervisor/supervisor.ts'
import {
  type ChildSpec,
  defaultChildSpec,
  type RestartAnswer,
  type SupervisorCommand,
  type SupervisorEffect,
  type SupervisorNews,
  type SupervisorState,
} from '../../src/actors/supervisor/supervisor-protocol.ts'
import { startAll } from '../../src/actors/supervisor/supervisor-state.ts'
import { transition } from '../../src/actors/supervisor/supervisor-transition.ts'
import { createProbe } from './probe.ts'

// The rules of supervision in one word each: states, messages and effects.

export const error = new Error('on purpose')
export const crashed: Ending = { reason: 'crashed', error, lastMessage: 'run', dropped: 2 }
export const stopped: Ending = { reason: 'stopped', dropped: 0 }
export const killed: Ending = { reason: 'killed', dropped: 3 }

export const restartAnswer = createProbe<RestartAnswer>().ref
export const shutdownAnswer = createProbe<'stopped'>().ref

type Id = 'a' | 'b' | 'c'
type Family = Readonly<{ all?: ChildOptions } & Partial<Record<Id, ChildOptions>>>

const backoff = { minMs: 100, maxMs: 5_000 }

export const specOf = (id: string, all: ChildOptions = {}, own: ChildOptions = {}): ChildSpec => ({
  ...defaultChildSpec,
  ...all,
  ...own,
  backoff: { ...defaultChildSpec.backoff, ...backoff, ...all.backoff, ...own.backoff },
  id,
})

/** Three children, `a`, `b` and `c`, that are being started. */
export const starting = (family: Family = {}) =>
  startAll((['a', 'b', 'c'] as const).map((id) => specOf(id, family.all, family[id])))

/** The same three, each of which has started at 0. */
export function running(family: Family = {}): SupervisorState {
  const [born] = starting(family)
  return ['a', 'b', 'c'].reduce((state, id) => transition(state, started(id, 1), 0, 0)[0], born)
}

/** Three children that have started, and what the supervisor does about what it hears. */
export function aFamily(family: Family = {}, from = running(family)) {
  let state = from
  return {
    hears(message: SupervisorCommand | SupervisorNews, now = 0): string[] {
      const [next, effects] = transition(state, message, now, 0)
      state = next
      return effects.filter((effect) => !isAside(effect)).map(inShort)
    },
    phases: () => phases(state),
    child: (id: Id) => stateOf(state, id),
    state: () => state,
  }
}

/** What the tests that speak of a family have nothing to say about. */
const isAside = (effect: SupervisorEffect): boolean =>
  effect.do === 'expectEnd' || (effect.do === 'report' && effect.event.type === 'childRestartAsked')

function inShort(effect: SupervisorEffect): string {
  switch (effect.do) {
    case 'report':
      return `${effect.event.type} ${effect.event.id}.${effect.event.incarnation}`
    case 'answer':
      return `answer ${effect.value}`
    case 'answerFailed':
    case 'describe':
      return effect.do
    default:
      return `${effect.do} ${effect.id}.${effect.incarnation}`
  }
}

export const phases = (state: SupervisorState) => state.children.map(({ phase }) => phase)
export const stateOf = (state: SupervisorState, id: string) =>
  state.children.find(({ spec }) => spec.id === id)

export const started = (id: string, incarnation: number): SupervisorNews => ({
  type: 'childStarted',
  id,
  incarnation,
})
export const startFailed = (id: string, incarnation: number): SupervisorNews => ({
  type: 'startFailed',
  id,
  incarnation,
  error,
})
export const childEnded = (id: string, incarnation: number, ending: Ending): SupervisorNews => ({
  type: 'childEnded',
  id,
  incarnation,
  ending,
})
export const restartDue = (id: string, incarnation: number): SupervisorNews => ({
  type: 'restartDue',
  id,
  incarnation,
})
export const overdue = (id: string, incarnation: number): SupervisorNews => ({
  type: 'shutdownOverdue',
  id,
  incarnation,
})
export const restartChild = (id: string): SupervisorCommand => ({
  type: 'restartChild',
  id,
  replyTo: restartAnswer,
})
export const shutdown: SupervisorCommand = { type: 'shutdown', replyTo: shutdownAnswer }

export const start = (id: string, incarnation: number) => ({ do: 'start', id, incarnation })
export const stop = (id: string, incarnation: number) => ({ do: 'stop', id, incarnation })
export const expectEnd = (id: string, incarnation: number, withinMs = 5_000) => ({
  do: 'expectEnd',
  id,
  incarnation,
  withinMs,
})
export const restartLater = (id: string, incarnation: number, afterMs: unknown) => ({
  do: 'restartLater',
  id,
  incarnation,
  afterMs,
})
export const reportsStop = (id: string, incarnation: number, more: object = { dropped: 0 }) => ({
  do: 'report',
  event: { type: 'childStopped', id, incarnation, ...more },
})
export const reportsRestartAsked = (id: string, incarnation: number) => ({
  do: 'report',
  event: { type: 'childRestartAsked', id, incarnation },
})
export const answers = (value: RestartAnswer) => answer(restartAnswer, value)
export const answersShutdown = answer(shutdownAnswer, 'stopped')
