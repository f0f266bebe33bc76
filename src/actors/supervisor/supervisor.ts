import {
  type ActorRef,
  type ActorSystem,
  type AnswerEffect,
  actorOf,
  type Behaviour,
  type Incarnation,
  type Place,
  spawn,
  tell,
  tellLater,
} from '../actor.ts'
import {
  type Backoff,
  type ChildSpec,
  defaultChildSpec,
  type SupervisorEffect,
  type SupervisorEvent,
  type SupervisorMessage,
  type SupervisorState,
} from './supervisor-protocol.ts'
import { startAll } from './supervisor-state.ts'
import { transition } from './supervisor-transition.ts'

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
 * Starts the children and keeps them alive; a crash reaches it as a message, so decisions are
 * serial. Throws when two children have the same id.
 */
export function startSupervisor(
  system: ActorSystem,
  children: readonly Child[],
  onEvent: (event: SupervisorEvent) => void,
): ActorRef<SupervisorMessage> {
  const childOf = new Map(children.map((child) => [child.spec.id, child]))
  const living = new Map<string, Incarnation<never>>()

  const behaviour = actorOf<SupervisorState, SupervisorMessage, SupervisorEffect>({
    initial: startAll(children.map(({ spec }) => spec)),
    transition: (state, message) => transition(state, message, performance.now(), Math.random()),
    perform,
  })
  const { ref } = spawn(system, 'supervisor', behaviour, ({ error }) => {
    // A supervisor that crashes has a bug, and nobody above it to restart it: the process ends.
    // Thrown right here, it would be caught by nact and never seen.
    setImmediate(() => {
      throw new Error('the supervisor crashed', { cause: error })
    })
  })
  return ref

  function perform(
    effect: Exclude<SupervisorEffect, AnswerEffect>,
    self: ActorRef<SupervisorMessage>,
  ): void {
    switch (effect.do) {
      case 'start':
        start(effect, self)
        break
      case 'stop':
        living.get(effect.id)?.stop()
        break
      case 'kill':
        living.get(effect.id)?.kill()
        break
      case 'restartLater': {
        const { id, incarnation, afterMs } = effect
        tellLater(self, afterMs, { type: 'restartDue', id, incarnation })
        break
      }
      case 'expectEnd': {
        const { id, incarnation, withinMs } = effect
        tellLater(self, withinMs, { type: 'shutdownOverdue', id, incarnation })
        break
      }
      case 'report':
        onEvent(effect.event)
        break
      case 'describe':
        tell(
          effect.to,
          effect.children.map((child) => ({
            ...child,
            mailbox: living.get(child.id)?.mailboxLength() ?? 0,
          })),
        )
        break
      default:
        effect satisfies never
    }
  }

  function start(
    { id, incarnation }: { id: string; incarnation: number },
    self: ActorRef<SupervisorMessage>,
  ): void {
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
  }
}
