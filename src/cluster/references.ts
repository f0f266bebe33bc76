/**
 * References to actors of other nodes. A message becomes a letter there, and a letter a message here. A reference
 * within a message, as `replyTo`, travels as the number of a waiting question. A lost letter is a question without an
 * answer, which ends by the time limit of `ask`.
 */
import {
  ActorFailedError,
  type ActorRef,
  deliver,
  fail,
  tellAskerItFailed,
} from '../actors/actor-ref.ts'
import { messageOf } from '../domain/errors.ts'
import type { Logger } from '../domain/log.ts'
import type { MailAddress, PostOptions } from './outbox.ts'
import type { Sendable } from './sendable.ts'
import { decode, type EncodedRef, encode } from './wire.ts'

export type ReferencesOptions = Readonly<{
  /** Where answers are to be sent. */
  here(): MailAddress
  /** False: nobody will read it. */
  post(to: MailAddress, body: string, options?: PostOptions): boolean
  log: Logger
  monotonicNow?: () => number
}>

export type References = {
  /** Other nodes reach this actor by its name. */
  publish(actor: ActorRef<never>): void
  /**
   * An actor of another node. `address` is read for each message; undefined means that the actor is not
   * running. Types of messages that cannot travel make a reference that takes no message. `mayWait`: whether a message
   * may take about a second; none may by default.
   */
  remote<Message>(
    name: string,
    address: () => MailAddress | undefined,
    mayWait?: (message: Sendable<Message>) => boolean,
  ): ActorRef<Sendable<Message>>
  /** Delivers a letter. One that cannot be read is logged and dropped. */
  receive(body: string): void
}

/** Longest time that an answer may take: above every time limit of a question. */
const maxWaitMs = 10 * 60_000

/** Questions that wait at once; beyond it the oldest fail. */
const maxQuestions = 10_000

/** A message for an actor, the answer to a question, or the news that there will be none. */
type Body = Readonly<
  | { to: string; message: never }
  | { answer: number; message: never }
  | { failed: number; why: string }
>

export function createReferences({
  here,
  post,
  log,
  monotonicNow = () => performance.now(),
}: ReferencesOptions): References {
  const actors = new Map<string, ActorRef<never>>()
  /** In the order in which they were asked. */
  const questions = new Map<number, Readonly<{ asker: ActorRef<never>; askedAt: number }>>()
  let lastQuestion = 0

  return {
    publish(actor) {
      actors.set(actor.name, actor)
    },
    remote: (name, address, mayWait) => ({
      name,
      [deliver](message) {
        const to = address()
        const options = { mayWait: mayWait?.(message) ?? false }
        const isPosted = to && send(to, { to: name, message: message as never }, options)
        return isPosted ? 'delivered' : 'not_running'
      },
    }),
    receive(body) {
      try {
        handle(decode(JSON.parse(body), answerer) as Body)
      } catch (error) {
        log.warn({ error: messageOf(error) }, 'a letter from another node cannot be read')
      }
    },
  }

  function send(to: MailAddress, body: Body, options?: PostOptions): boolean {
    return post(to, JSON.stringify(encode(body, question)), options)
  }

  function question(asker: ActorRef<never>): EncodedRef {
    const now = monotonicNow()
    for (const [id, { asker, askedAt }] of questions) {
      if (now - askedAt < maxWaitMs && questions.size < maxQuestions) break
      questions.delete(id)
      asker[fail]?.(new ActorFailedError('there was no answer from the other node'))
    }
    lastQuestion += 1
    questions.set(lastQuestion, { asker, askedAt: now })
    return { ...here(), id: lastQuestion }
  }

  /** The asker, for an actor of this node: its answer becomes a letter. */
  function answerer({ node, session, id }: EncodedRef): ActorRef<never> {
    const to = { node, session }
    return {
      name: `asker ${id} on ${node}`,
      [deliver]: (message) => (send(to, { answer: id, message }) ? 'delivered' : 'not_running'),
      [fail]: ({ message }) => void send(to, { failed: id, why: message }),
    }
  }

  function handle(body: Body): void {
    if ('to' in body) tellActor(body.to, body.message)
    else if ('answer' in body) takeAsker(body.answer)?.[deliver](body.message)
    else takeAsker(body.failed)?.[fail]?.(new ActorFailedError(body.why))
  }

  function tellActor(name: string, message: never): void {
    const result = actors.get(name)?.[deliver](message) ?? 'not_running'
    if (result === 'delivered') return
    const why = result === 'mailbox_full' ? 'has too much mail' : 'is not running'
    tellAskerItFailed(message, `${name} on node ${here().node} ${why}`)
  }

  function takeAsker(id: number): ActorRef<never> | undefined {
    const question = questions.get(id)
    questions.delete(id)
    return question?.asker
  }
}
