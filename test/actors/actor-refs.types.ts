/** Checked by the compiler alone: what may be told to whom, and what comes back. */
import {
  type ActorRef,
  type Asks,
  ask,
  type Incarnation,
  type Place,
  tell,
} from '../../src/actors/actor.ts'
import type {
  ChildView,
  RestartAnswer,
  SupervisorMessage,
} from '../../src/actors/supervisor/supervisor-protocol.ts'

type Status = { phase: string }
type Message = Readonly<
  | { type: 'render'; jobId: string }
  | ({ type: 'describe' } & Asks<Status>)
  | ({ type: 'cancel'; jobId: string } & Asks<boolean>)
>
type Other = { type: 'other' }

export function refsKnowTheirProtocol(actor: ActorRef<Message>, anything: unknown) {
  const told: boolean = tell(actor, { type: 'render', jobId: 'x' })
  const status: Promise<Status> = ask(actor, { type: 'describe' })
  const cancelled: Promise<boolean> = ask(actor, { type: 'cancel', jobId: 'x' }, 100)
  const narrower: ActorRef<{ type: 'render'; jobId: string }> = actor
  const stoppable: ActorRef<never> = actor

  // @ts-expect-error no such message
  tell(actor, { type: 'nope' })
  // @ts-expect-error an incomplete message
  tell(actor, { type: 'render' })
  // @ts-expect-error a message nobody can answer
  tell(actor, { type: 'describe' })
  // @ts-expect-error not known to be a message
  tell(actor, anything)
  // @ts-expect-error nothing can be told to whom nothing is known
  tell(stoppable, { type: 'render', jobId: 'x' })
  // @ts-expect-error another protocol
  const other: ActorRef<Other> = actor
  // @ts-expect-error a wider protocol
  const wider: ActorRef<Message | Other> = actor
  // @ts-expect-error a name alone is no address
  const forged: ActorRef<Message> = { name: 'gpu-0' }
  // @ts-expect-error not the answer to this question
  const wrong: Promise<string> = ask(actor, { type: 'describe' })
  // @ts-expect-error not a question
  ask(actor, { type: 'render', jobId: 'x' })
  // @ts-expect-error an incomplete question
  ask(actor, { type: 'cancel' })

  return [told, status, cancelled, narrower, other, wider, forged, wrong]
}

export function answersFitTheirQuestion(question: Extract<Message, { type: 'describe' }>) {
  tell(question.replyTo, { phase: 'idle' })
  // @ts-expect-error not what was asked for
  tell(question.replyTo, true)
  // @ts-expect-error nor is this
  tell(question.replyTo, { type: 'render', jobId: 'x' })
}

export function placesAreAddresses(place: Place<Message>, life: Incarnation<Message>) {
  place.seat(life.ref)
  tell(place, { type: 'render', jobId: 'x' })
  const status: Promise<Status> = ask(place, { type: 'describe' })
  const address: ActorRef<Message> = place

  // @ts-expect-error no such message
  tell(place, { type: 'other' })
  // @ts-expect-error who sits here must understand the whole protocol
  place.seat(life.ref as ActorRef<Other>)
  // @ts-expect-error an address does not say who sits there
  address.seat(life.ref)
  // @ts-expect-error an address does not let anybody stop the actor
  address.stop()

  return [status, address]
}

export function supervisorsAreAskedInTheWordsOfOtp(supervisor: ActorRef<SupervisorMessage>) {
  const restarted: Promise<RestartAnswer> = ask(supervisor, { type: 'restartChild', id: 'gpu-0' })
  const children: Promise<readonly ChildView[]> = ask(supervisor, { type: 'whichChildren' })
  const stopped: Promise<'stopped'> = ask(supervisor, { type: 'shutdown' })

  // @ts-expect-error which child?
  ask(supervisor, { type: 'restartChild' })
  // @ts-expect-error a restart is answered
  tell(supervisor, { type: 'restartChild', id: 'gpu-0' })

  return [restarted, children, stopped]
}
