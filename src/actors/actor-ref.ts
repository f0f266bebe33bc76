/** References to actors: how messages, questions and replies are delivered. */

/** Delivers a message to the mailbox behind a reference. */
export const deliver: unique symbol = Symbol('deliver')
/** Receives the news that a question will have no answer. */
export const fail: unique symbol = Symbol('fail')

/** The address of an actor, typed by what the actor can be told. */
export type ActorRef<in Message> = {
  readonly name: string
  readonly [deliver]: (message: Message) => DeliveryResult
  /** Only the address of an asker has it: where the news goes that no answer will ever come. */
  readonly [fail]?: (error: ActorFailedError) => void
}

export type DeliveryResult = 'delivered' | 'not_running' | 'mailbox_full'

/** A message that wants an answer says where to send it. */
export type Asks<Reply> = { readonly replyTo: ActorRef<Reply> }

/** The actor that was asked is not running, has too much mail, died of the question, or is too slow. */
export class ActorFailedError extends Error {
  override readonly name = 'ActorFailedError'
}

/** There was no answer in time. The actor may still do what it was asked for. */
export class NoAnswerError extends ActorFailedError {}

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
      () =>
        reject(
          new NoAnswerError(`${actor.name} did not answer ${question.type} within ${withinMs} ms`),
        ),
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
export const refOf = <Message>(
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

type Tagged = { readonly type: string }
type Question<Message> = Message extends Asks<never> ? Omit<Message, 'replyTo'> : never
type Answer<Message, Q extends Tagged> = Message extends Asks<infer Reply> & { type: Q['type'] }
  ? Reply
  : never
