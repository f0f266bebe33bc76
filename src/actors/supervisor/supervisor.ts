import {
  type ActorRef,
  type ActorSystem,
  type Behaviour,
  type Incarnation,
  type Place,
  spawn,
  tell,
} from '../actor.ts'
import {
  type Backoff,
  type ChildSpec,
  type ChildView,
  defaultChildSpec,
  type Strategy,
  type SupervisorEffect,
  type SupervisorEvent,
  type SupervisorMessage,
  type SupervisorState,
} from './supervisor-protocol.ts'
import { countChildren, initialSupervisorState } from './supervisor-state.ts'
import { transition } from './supervisor-transition.ts'

/** A longer timer than this would go off at once. */
const maxTimerMs = 2 ** 31 - 1

/** A child as `main` describes it: how it is kept alive, where it sits, and how one life of it starts. */
export type Child = Readonly<{
  spec: ChildSpec
  start(name: string, onEnded: Parameters<typeof spawn>[3]): Incarnation<never>
  vacate(): void
}>

/** What of a child's spec differs from the default. */
export type ChildOptions = Readonly<
  Partial<Omit<ChildSpec, 'id' | 'backoff'>> & { backoff?: Partial<Backoff> }
>

/** `behaviour` is called anew for each incarnation, so that no state outlives one. */
export function child<State, Message>(
  system: ActorSystem,
  place: Place<Message>,
  behaviour: () => Behaviour<State, Message>,
  options: ChildOptions = {},
): Child {
  const backoff = { ...defaultChildSpec.backoff, ...options.backoff }
  return {
    spec: { ...defaultChildSpec, ...options, backoff, id: place.name },
    start(name, onEnded) {
      const incarnation = spawn(system, name, behaviour(), onEnded)
      place.seat(incarnation.ref)
      return incarnation as unknown as Incarnation<never>
    },
    vacate: place.vacate,
  }
}

/**
 * Keeps its children alive; a crash reaches it as a message, so decisions are serial. Throws when
 * the specs of the children contradict themselves.
 */
export function startSupervisor(
  system: ActorSystem,
  children: readonly Child[],
  onEvent: (event: SupervisorEvent) => void,
  strategy: Strategy = 'one_for_one',
): ActorRef<SupervisorMessage> {
  const specs = children.map(({ spec }) => spec)
  const childOf = new Map(children.map((child) => [child.spec.id, child]))
  const living = new Map<string, Incarnation<never>>()

  const { ref } = spawn<SupervisorState, SupervisorMessage>(
    system,
    'supervisor',
    {
      init: () => initialSupervisorState(specs, strategy),
      receive(state, message, self) {
        if (message.type === 'whichChildren') {
          tell(message.replyTo, state.children.map(view))
          return state
        }
        if (message.type === 'countChildren') {
          tell(message.replyTo, countChildren(state))
          return state
        }
        const [next, effects] = transition(state, message, performance.now(), Math.random())
        for (const effect of effects) perform(effect, self)
        return next
      },
    },
    ({ error }) => {
      // A supervisor that crashes has a bug, and nobody above it to restart it: the process ends.
      // Thrown right here, it would be caught by nact and never seen.
      setImmediate(() => {
        throw new Error('the supervisor crashed', { cause: error })
      })
    },
  )
  tell(ref, { type: 'startAll' })
  return ref

  function perform(effect: SupervisorEffect, self: ActorRef<SupervisorMessage>): void {
    switch (effect.do) {
      case 'start': {
        const { id, incarnation } = effect
        try {
          const handle = childOf.get(id)?.start(`${id}.${incarnation}`, (ending) => {
            living.delete(id)
            childOf.get(id)?.vacate()
            tell(self, { type: 'childEnded', id, incarnation, ending })
          })
          if (handle) living.set(id, handle)
          tell(self, { type: 'childStarted', id, incarnation })
        } catch (error) {
          tell(self, { type: 'startFailed', id, incarnation, error })
        }
        break
      }
      case 'stop':
        living.get(effect.id)?.stop()
        break
      case 'kill':
        living.get(effect.id)?.kill()
        break
      case 'restartLater': {
        const { id, incarnation, afterMs } = effect
        later(afterMs, () => tell(self, { type: 'restartDue', id, incarnation }))
        break
      }
      case 'expectEnd': {
        const { id, incarnation, withinMs } = effect
        later(withinMs, () => tell(self, { type: 'shutdownOverdue', id, incarnation }))
        break
      }
      case 'report':
        onEvent(effect.event)
        break
      case 'answerRestart':
        tell(effect.to, effect.answer)
        break
      case 'answerTerminate':
        tell(effect.to, effect.answer)
        break
      case 'answerShutdown':
        tell(effect.to, 'stopped')
        break
      default:
        effect satisfies never
    }
  }

  function view(state: SupervisorState['children'][number]): ChildView {
    const { spec, phase, incarnation, restartedAt } = state
    const since = performance.now() - spec.periodMs
    return {
      id: spec.id,
      phase,
      incarnation,
      restartsInPeriod: restartedAt.filter((at) => at >= since).length,
      mailbox: living.get(spec.id)?.mailboxLength() ?? 0,
      ...('error' in state && { error: state.error }),
    }
  }
}

function later(ms: number, then: () => void): void {
  setTimeout(then, Math.min(ms, maxTimerMs)).unref()
}
