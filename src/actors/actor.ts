/**
 * Actors: the only module that imports nact, which here is a scheduler and nothing else.
 *
 * Addresses, mailboxes, crashes and questions are ours, because nact's own lose messages, run two
 * handlers at once and can hang the process (docs/decisions/0002-nact-behind-one-module.md).
 */
import * as nact from 'nact'
import { maxTimerMs } from '../domain/time.ts'
import { type ActorRef, deliver, tell, tellAskerItFailed } from './actor-ref.ts'

export * from './actor-ref.ts'

export type Behaviour<State, Message> = {
  /** May throw: that is a failed start. */
  init(self: ActorRef<Message>): State
  /** Synchronous on purpose: an actor that awaits reads no mail, not even a cancel. */
  receive(state: State, message: Message, self: ActorRef<Message>): State
  /** After each run of messages that were waiting together: the place for work worth doing once. */
  settle?(state: State, self: ActorRef<Message>): State
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
      if (settle) state = settle(state, ref)
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

/** Next state and the effects to perform, in this order. */
export type Step<State, Effect> = readonly [state: State, effects: readonly Effect[]]

/** Effects that `actorOf` performs for every actor: a reply, or the news that there will be none. */
export type AnswerEffect = Readonly<
  | { do: 'answer'; to: ActorRef<never>; value: unknown }
  | { do: 'answerFailed'; to: ActorRef<never>; why: string; cause?: unknown }
>

/** Effect that replies to a question. The compiler checks the type of the reply here. */
export const answer = <Reply>(to: ActorRef<Reply>, value: NoInfer<Reply>): AnswerEffect => ({
  do: 'answer',
  to,
  value,
})

/** Effect that rejects a question with `ActorFailedError`. */
export const answerFailed = (to: ActorRef<never>, why: string, cause?: unknown): AnswerEffect => ({
  do: 'answerFailed',
  to,
  why,
  cause,
})

/** An actor as rules and a shell: the rules decide, the shell acts. */
export type ActorParts<State, Message, Effect> = Readonly<{
  /** State of a new incarnation, and the effects of its start. */
  initial: Step<State, Effect>
  /** Pure: decides by state and message alone. */
  transition(state: State, message: Message): Step<State, Effect>
  /** Performs one effect without waiting: the result arrives as a message (`pipe`, `tellLater`). */
  perform(effect: Exclude<Effect, AnswerEffect>, self: ActorRef<Message>): void
  /** Pure: decides after each run of messages that were handled together. */
  settle?(state: State): Step<State, Effect>
  /** Runs after a crash as well as after an ordinary stop: releases what the shell holds. */
  terminate?(state: State): void
}>

/** The behaviour of one incarnation. Call it again for the next, so that nothing is carried over. */
export function actorOf<State, Message, Effect extends { readonly do: string }>({
  initial,
  transition,
  perform,
  settle,
  terminate,
}: ActorParts<State, Message, Effect>): Behaviour<State, Message> {
  return {
    init: (self) => take(initial, self),
    receive: (state, message, self) => take(transition(state, message), self),
    ...(settle && { settle: (state: State, self: ActorRef<Message>) => take(settle(state), self) }),
    ...(terminate && { terminate }),
  }

  function take([state, effects]: Step<State, Effect>, self: ActorRef<Message>): State {
    for (const effect of effects) {
      if (isAnswer(effect)) give(effect)
      else perform(effect as Exclude<Effect, AnswerEffect>, self)
    }
    return state
  }
}

const isAnswer = (effect: { readonly do: string }): effect is AnswerEffect =>
  effect.do === 'answer' || effect.do === 'answerFailed'

function give(effect: AnswerEffect): void {
  if (effect.do === 'answer') effect.to[deliver](effect.value as never)
  else tellAskerItFailed({ replyTo: effect.to }, effect.why, effect.cause)
}

/**
 * Sends the outcome of a promise to an actor as a message. `undefined` sends nothing. The functions
 * run outside the turn of the actor: they build the message and touch no state.
 */
export function pipe<Message, Result, const Success extends Message, const Failure extends Message>(
  to: ActorRef<Message>,
  promise: Promise<Result>,
  onResult: (result: Result) => Success | undefined,
  onError: (error: unknown) => Failure | undefined,
): void {
  const send = (message: Message | undefined) => {
    if (message !== undefined) tell(to, message)
  }
  void promise.then(
    (result) => send(onResult(result)),
    (error: unknown) => send(onError(error)),
  )
}

/** Replies to a question with the result of a promise; an error rejects the question. */
export function pipeAnswer<Reply>(
  to: ActorRef<Reply>,
  promise: Promise<NoInfer<Reply>>,
  why: string,
): void {
  void promise.then(
    (reply) => tell(to, reply),
    (error: unknown) => tellAskerItFailed({ replyTo: to }, why, error),
  )
}

/** Sends a message after a delay. The timer keeps no process alive. */
export function tellLater<Message>(
  actor: ActorRef<Message>,
  delayMs: number,
  message: NoInfer<Message>,
): NodeJS.Timeout {
  const timer = setTimeout(() => tell(actor, message), Math.min(Math.max(delayMs, 0), maxTimerMs))
  return timer.unref()
}

const typeOf = (message: unknown): string =>
  String((message as { type?: unknown } | null)?.type ?? 'untyped')
