import type { GenerationHandle, GenerationObserver } from '../../../actors/gpu/gpu-ports.ts'
import { messageOf } from '../../../domain/errors.ts'
import type { GenerationStartKind, Reading, Timestamp } from '../../../domain/job.ts'
import type { Logger } from '../../../domain/log.ts'
import { maxTimerMs } from '../../../domain/time.ts'
import type { ShimEnd } from '../../processes/fork-server.ts'
import type { ShimExit } from '../../processes/shim-client.ts'
import type { Evidence } from '../progress/failure.ts'
import type { OutputFollower } from '../progress/output-follower.ts'
import { type AttemptClock, createAttemptClock } from './attempt-clock.ts'
import type { AttemptEffect, AttemptEvent, AttemptReport, AttemptState } from './attempt-state.ts'
import { begin, transition } from './attempt-transition.ts'
import type { AttemptProcesses, Connection } from './transport.ts'

export type AttemptParts = Readonly<{
  processes: AttemptProcesses
  /** Reads the output from its beginning. `onRead` is called after each read, also without news. */
  followOutput(
    startedAt: Timestamp,
    onRead: (reading: Reading | undefined) => void,
    clock: AttemptClock,
  ): OutputFollower
  /** Whether the disk of the attempt is full. */
  hasNoRoom(): boolean
  observer: GenerationObserver
  log: Logger
  /** Fields of every log line. */
  fields: object
}>

/** How soon a shim that did not answer is tried again. */
const lookAgainMs = 25

/** How soon a search for leftover processes is repeated that failed, as with too many open files. */
const clearAgainMs = 1_000
/** How soon a look is repeated that the system could not carry out. */
const lookLaterMs = 1_000

/**
 * Follows one attempt, started by us or by a previous run. Performs what the rules decide: each
 * promise and callback comes back to them as an event.
 */
export function followAttempt(
  how: 'start' | 'adopt',
  { processes, followOutput, hasNoRoom, observer, log, fields }: AttemptParts,
): GenerationHandle {
  const clock = createAttemptClock()
  const [initial, firstEffects] = begin(how, clock.now())
  let state: AttemptState = initial
  let connection: Connection | undefined
  /** A generation can make a socket of its own and answer there, but hardly before we connect first. */
  let isShimKnown = how === 'start'
  let output: OutputFollower | undefined
  let startKind: GenerationStartKind | undefined
  const waiting: AttemptEvent[] = []
  let isBusy = false
  for (const effect of firstEffects) perform(effect)

  return {
    stop: (reason, graceMs) => send({ type: 'stopAsked', reason, graceMs }),
    detach: () => send({ type: 'detached' }),
  }

  /** One event after the other, also when an effect brings the next one at once. */
  function send(event: AttemptEvent): void {
    waiting.push(event)
    if (!isBusy) handleWaiting()
  }

  function handleWaiting(): void {
    isBusy = true
    try {
      for (let event = waiting.shift(); event; event = waiting.shift()) {
        const [next, effects] = transition(state, event, clock.now())
        state = next
        for (const effect of effects) perform(effect)
      }
    } finally {
      isBusy = false
    }
  }

  function perform(effect: AttemptEffect): void {
    switch (effect.do) {
      case 'startShim':
        processes.start().then(
          (end) => send(newsOf(end)),
          (error: unknown) => send({ type: 'cannotStart', why: messageOf(error) }),
        )
        break
      case 'lookForExit':
        sendResult(processes.exit(), (exit) => onExitFile(exit) ?? { type: 'noExitFound' })
        break
      case 'lookForLastExit':
        sendResult(processes.exit(), (exit) => onExitFile(exit) ?? { type: 'noExitLeft' })
        break
      case 'connect':
        connection = processes.connect({
          hello(told, start) {
            startKind = start
            send({ type: 'helloReceived', startedAt: told && startOf(told) })
          },
          exit: (exit) => send(onExit(exit, isShimKnown ? 'shim' : 'file')),
          closed() {
            if (state.phase === 'connected') isShimKnown = false
            send({ type: 'connectionClosed' })
          },
        })
        break
      case 'revoke':
        sendNow(() => ({ type: 'claimAnswered', claim: processes.revoke() }))
        break
      case 'checkLife':
        // A full disk may be why nobody can be reached, and have room again by the time that is sure.
        checkRoom()
        sendResult(processes.life(), (life) => ({ type: 'lifeChecked', life }))
        break
      case 'lookAgain':
        sendLater(lookAgainMs, { type: 'lookDue' })
        break
      case 'lookLater':
        sendLater(lookLaterMs, { type: 'lookDue' })
        break
      case 'askWhyNothingStarted':
        sendResult(processes.whyNothingStarted(), (why) => ({ type: 'cannotStart', why }))
        break
      case 'sendStop':
        connection?.stop(effect.reason, effect.graceMs)
        break
      case 'expectForce':
        sendLater(effect.afterMs, { type: 'forceDue' })
        break
      case 'force':
        processes
          .killWorkers()
          .then(processes.killShim)
          .catch((err: unknown) => log.error({ ...fields, err }, 'the shim could not be killed'))
        break
      case 'clear':
        clear()
        break
      case 'followOutput':
        output = followOutput(effect.startedAt, onRead, clock)
        break
      case 'finishOutput':
        finishOutput()
        break
      case 'awaitShimEnd':
        processes.shimEnds().then(
          () => send({ type: 'shimGone' }),
          () => send({ type: 'shimGone' }),
        )
        break
      case 'letGo':
        connection?.close()
        output?.stop()
        break
      case 'report':
        report(effect.report)
        break
      case 'log':
        log[effect.level]({ ...fields, ...effect.fields }, effect.phrase)
        break
      default:
        effect satisfies never
    }
  }

  function report(news: AttemptReport): void {
    switch (news.type) {
      case 'started':
        observer.started(
          news.at,
          Math.max(0, clock.now() - news.at),
          processes.command(),
          startKind ?? processes.startKind(),
        )
        break
      case 'reading':
        observer.reported(news.reading)
        break
      case 'ended':
        observer.ended(news.result)
        break
      default:
        news satisfies never
    }
  }

  /** The room is checked first: it says whether the disk was full when the exit became known. */
  function onExit(exit: ShimExit, source: 'shim' | 'file'): AttemptEvent {
    checkRoom()
    return { type: 'exitFound', exit: { ...exit, startedAt: startOf(exit.startedAt) }, source }
  }

  function onExitFile(exit: ShimExit | undefined): AttemptEvent | undefined {
    return exit && onExit(exit, 'file')
  }

  function startOf(told: Timestamp): Timestamp {
    return clock.startedAt(told, processes.ageMs())
  }

  function onRead(reading: Reading | undefined): void {
    checkRoom()
    if (reading) send({ type: 'outputRead', reading })
  }

  /** A write that failed because the disk is full may have made room by the end. */
  function checkRoom(): void {
    if (hasNoRoom()) send({ type: 'noRoomSeen' })
  }

  /** Searched for until that succeeds: without it, nobody knows whether the GPU is free. */
  function clear(): void {
    checkRoom()
    processes.clear().then(
      (strays) => send({ type: 'cleared', ...strays, hasFiles: processes.hasFiles() }),
      (err: unknown) => {
        log.error({ ...fields, err }, 'leftover processes could not be searched for')
        setTimeout(clear, clearAgainMs).unref()
      },
    )
  }

  function finishOutput(): void {
    const finished = output?.finish() ?? Promise.resolve(undefined)
    finished.then(
      (evidence) => outputFinished(evidence),
      (err: unknown) => {
        log.warn({ ...fields, err }, 'output could not be followed')
        outputFinished(undefined)
      },
    )
  }

  function outputFinished(evidence: Evidence | undefined): void {
    const hasFiles = processes.hasFiles()
    send({ type: 'outputFinished', hasFiles, ...(evidence && { evidence }) })
  }

  function sendResult<Result>(
    promise: Promise<Result>,
    toEvent: (result: Result) => AttemptEvent,
  ): void {
    promise.then(
      (result) => send(toEvent(result)),
      (error: unknown) => send({ type: 'observationFailed', error }),
    )
  }

  function sendNow(toEvent: () => AttemptEvent): void {
    try {
      send(toEvent())
    } catch (error) {
      send({ type: 'observationFailed', error })
    }
  }

  function sendLater(delayMs: number, event: AttemptEvent): void {
    setTimeout(() => send(event), Math.min(delayMs, maxTimerMs)).unref()
  }
}

function newsOf(end: ShimEnd): AttemptEvent {
  switch (end.how) {
    case 'cannotStart':
      return { type: 'cannotStart', why: end.why }
    case 'ended':
      return { type: 'shimEnded', signal: end.signal }
    case 'unwatched':
      return { type: 'shimUnwatched' }
  }
}
