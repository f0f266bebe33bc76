/**
 * Actors: the only module that imports nact, which here is a scheduler and nothing else.
 *
 * Addresses, mailboxes, crashes and questions are ours, because nact's own lose messages, run two
 * handlers at once and can hang the process (docs/decisions/0002-nact-behind-one-module.md).
 */
import * as nact from 'nact'

const deliver: unique symbol = Symbol('deliver')
const fail: unique symbol = Symbol('fail')

/** The address of an actor, typed by what the actor can be told. */
export type ActorRef<in Message> = {
  readonly name: string
  readonly [deliver]: (message: Message) => Delivery
  /** Only the address of an asker has it: where the news goes that no answer will ever come. */
  readonly [fail]?: (error: ActorFailedError) => void
}

type Delivery = 'delivered' | 'not_running' | 'mailbox_full'

/** A message that wants an answer says where to send it. */
export type Asks<Reply> = { readonly replyTo: ActorRef<Reply> }

/** The actor that was asked is not running, has too much mail, died of the question, or is too slow. */
export class ActorFailedError extends Error {
  override readonly name = 'ActorFailedError'
}

export type Behaviour<State, Message> = {
  /** May throw: that is a failed start. */
  init(self: ActorRef<Message>): State
  /** Synchronous on purpose: an actor that awaits reads no mail, not even a cancel. */
  receive(state: State, message: Message, self: ActorRef<Message>): State
  /** After each run of messages that were waiting together: the place for work worth doing once. */
  settle?(state: State, self: ActorRef<Message>): void
  /** Runs after a crash as well as after an ordinary stop: release here what the actor holds. */
  terminate?(state: State): void
}

/** How an incarnation ended. A crash is news like any other; nobody is interrupted by it. */
export type Ending = Readonly<{
  reason: 'stopped' | 'killed' | 'crashed'
  error?: unknown
  /** The type of the message it crashed on. */
  lastMessage?: string
  /** How many messages were still waiting; those who had asked were told so. */
  dropped: number
}>

/** One life of an actor. Its `ref` is good for this life only; a `Place` outlives it. */
export type Incarnation<Message> = {
  readonly ref: ActorRef<Message>
  /** In its turn: what is already in the mailbox is handled first. */
  stop(): void
  /** At once: what is in the mailbox is dropped. */
  kill(): void
  mailboxLength(): number
}

export type ActorSystem = nact.ActorSystemRef

export const startActorSystem = (): ActorSystem => nact.start()

/** How many messages may wait for one actor before more are refused. */
const mailboxLimit = 100_000

/** How many messages an actor handles in one go before others get their turn. */
const turnLimit = 256

type Mail<Message> = { readonly message: Message } | 'stop'

/** Starts one incarnation under a name never used before. `onEnded` hears of its end exactly once. */
export function spawn<State, Message>(
  system: ActorSystem,
  name: string,
  { init, receive, settle, terminate }: Behaviour<State, Message>,
  onEnded: (ending: Ending) => void,
): Incarnation<Message> {
  let mailbox: Mail<Message>[] = []
  /** What is left of those taken up together in the present turn. */
  let turn: Mail<Message>[] = []
  let alive = true
  let scheduled = false

  const ref: ActorRef<Message> = {
    name,
    [deliver](message) {
      if (!alive) return 'not_running'
      if (mailboxLength() >= mailboxLimit) return 'mailbox_full'
      post({ message })
      return 'delivered'
    },
  }
  const scheduler = nact.spawn(system, takeTurn, name, { onCrash: (_m, _e, ctx) => ctx.stop })
  let state: State
  try {
    state = init(ref)
  } catch (error) {
    tellAskersItEnded(cease())
    throw error
  }

  return {
    ref,
    stop() {
      if (alive) post('stop')
    },
    kill() {
      end({ reason: 'killed' })
    },
    mailboxLength,
  }

  function mailboxLength(): number {
    return turn.length + mailbox.length
  }

  function post(mail: Mail<Message>): void {
    mailbox.push(mail)
    wake()
  }

  function wake(): void {
    if (scheduled) return
    scheduled = true
    nact.dispatch(scheduler, 'turn')
  }

  /** Nothing thrown gets out of here: nact never sees an exception. */
  function takeTurn(): void {
    scheduled = false
    turn = mailbox.slice(0, turnLimit)
    mailbox = mailbox.slice(turnLimit)
    for (let mail = turn.shift(); mail; mail = turn.shift()) handle(mail)
    if (alive) settleTurn()
    if (alive && mailbox.length > 0) wake()
  }

  function handle(mail: Mail<Message>): void {
    if (mail === 'stop') {
      end({ reason: 'stopped' })
      return
    }
    try {
      state = receive(state, mail.message, ref)
    } catch (error) {
      tellAskerItFailed(mail.message, `${name} crashed on this question`, error)
      end({ reason: 'crashed', error, lastMessage: typeOf(mail.message) })
    }
  }

  function settleTurn(): void {
    try {
      settle?.(state, ref)
    } catch (error) {
      end({ reason: 'crashed', error })
    }
  }

  /** There is one end only: a handler that was cut off may still throw afterwards. */
  function end(how: Omit<Ending, 'dropped'>): void {
    if (!alive) return
    const unread = cease()
    let ending: Ending = { ...how, dropped: unread.length }
    try {
      terminate?.(state)
    } catch (error) {
      const reason = ending.reason === 'stopped' ? 'crashed' : ending.reason
      ending = { ...ending, reason, error: ending.error ?? error }
    }
    tellAskersItEnded(unread)
    onEnded(ending)
  }

  /** From here on nothing is delivered and nothing handled; gives back what was not. */
  function cease(): Message[] {
    const unread = [...turn, ...mailbox].flatMap((mail) => (mail === 'stop' ? [] : [mail.message]))
    alive = false
    turn = []
    mailbox = []
    nact.stop(scheduler)
    return unread
  }

  function tellAskersItEnded(unread: readonly Message[]): void {
    for (const message of unread) {
      tellAskerItFailed(message, `${name} ended before it could answer`)
    }
  }
}

/** False when nobody will read it: the actor is not running, or its mailbox is full. */
export function tell<Message>(actor: ActorRef<Message>, message: NoInfer<Message>): boolean {
  return actor[deliver](message) === 'delivered'
}

/** Rejects with `ActorFailedError` only, and at once unless the actor is merely slow. */
export function ask<Message extends Tagged, Q extends Question<Message> & Tagged>(
  actor: ActorRef<Message>,
  question: Q,
  withinMs = 5_000,
): Promise<Answer<Message, Q>> {
  return new Promise((resolve, reject) => {
    const giveUp = (why: string, cause?: unknown) => {
      clearTimeout(timer)
      reject(new ActorFailedError(why, { cause }))
    }
    const timer = setTimeout(
      () => giveUp(`${actor.name} did not answer ${question.type} within ${withinMs} ms`),
      withinMs,
    )
    const replyTo: ActorRef<Answer<Message, Q>> = {
      name: `asker of ${question.type}`,
      [deliver](answer) {
        clearTimeout(timer)
        resolve(answer)
        return 'delivered'
      },
      [fail]: (error) => giveUp(error.message, error.cause),
    }
    // The compiler cannot see that a question and its replyTo make a whole message again.
    const delivery = actor[deliver]({ ...question, replyTo } as unknown as Message)
    if (delivery === 'not_running') giveUp(`${actor.name} is not running`)
    if (delivery === 'mailbox_full') giveUp(`${actor.name} has too much mail to take a question`)
  })
}

/** Tells whoever asked this, if anybody did, that no answer will come. */
export function tellAskerItFailed(message: unknown, why: string, cause?: unknown): void {
  const replyTo = (message as { replyTo?: ActorRef<never> } | null)?.replyTo
  replyTo?.[fail]?.(new ActorFailedError(why, { cause }))
}

/**
 * The address of somebody who is no actor, such as an open connection. `hear` runs within the
 * teller's turn: it may only take note, and says whether it could.
 */
export const addressOf = <Message>(
  name: string,
  hear: (message: Message) => boolean,
): ActorRef<Message> => ({
  name,
  [deliver]: (message) => (hear(message) ? 'delivered' : 'mailbox_full'),
})

/**
 * A name that stays while incarnations come and go: the address to hand out. Whoever supervises
 * seats each new incarnation in it; while it is empty, telling it anything answers `false`.
 */
export type Place<Message> = ActorRef<Message> & {
  seat(incarnation: ActorRef<Message>): void
  vacate(): void
}

export function createPlace<Message>(name: string): Place<Message> {
  let seated: ActorRef<Message> | undefined
  return {
    name,
    [deliver]: (message) => seated?.[deliver](message) ?? 'not_running',
    seat(incarnation) {
      seated = incarnation
    },
    vacate() {
      seated = undefined
    },
  }
}

const typeOf = (message: unknown): string =>
  String((message as { type?: unknown } | null)?.type ?? 'untyped')

type Tagged = { readonly type: string }
type Question<Message> = Message extends Asks<never> ? Omit<Message, 'replyTo'> : never
type Answer<Message, Q extends Tagged> = Message extends Asks<infer Reply> & { type: Q['type'] }
  ? Reply
  : never
