/**
 * A shim, its worker and their files as far as an attempt can see them, and an attempt that watches
 * them. Everything that can happen is a move. Answers are found at one moment and arrive at a later
 * one, in any order.
 */
import { strict as assert } from 'node:assert'
import type { GenerationResult, StopReason } from '../../src/actors/gpu/gpu-ports.ts'
import type {
  AttemptEffect,
  AttemptEvent,
  AttemptReport,
  AttemptState,
} from '../../src/infra/generation/attempt/attempt-state.ts'
import type { begin, transition } from '../../src/infra/generation/attempt/attempt-transition.ts'
import type { ShimExit } from '../../src/infra/processes/shim-client.ts'
import { midnight } from './jobs.ts'

export type AttemptRules = Readonly<{ begin: typeof begin; transition: typeof transition }>

/** State in which a previous run of the service left the attempt. */
export type Found = 'nothing' | 'a shim' | 'a worker' | 'an exit' | 'a dead shim'

export const anExit = (changes: Partial<ShimExit> = {}): ShimExit => ({
  ...{ code: 0, signal: null, reason: null, strays: 0, unreaped: 0, error: null },
  ...{ startedAt: midnight + 10, endedAt: midnight + 20, maxRssKiB: 1, ...changes },
})

type Answer = { find(): AttemptEvent | 'notYet'; found?: AttemptEvent }

export function createAttemptWorld(
  rules: AttemptRules,
  how: 'start' | 'adopt',
  found: Found = 'nothing',
) {
  let at = midnight
  let shim: 'unborn' | 'born' | 'claimed' | 'working' | 'reaping' | 'gone' = 'unborn'
  let claim: 'free' | 'shim' | 'service' = 'free'
  let isWorkerAlive = false
  let hasWorked = false
  let isStateWritten = false
  let isHung = false
  let isForced = false
  let killedBy: string | null = null
  /** On disk. */
  let exit: ShimExit | undefined
  let told: ShimExit | undefined
  let stopReason: string | null = null
  let stopAsked = false
  let isDetached = false
  /** When the last look began. */
  let wasExitThere = false
  let isForkServerGone = false
  let areFilesRemoved = false
  let isForged = false
  let result: GenerationResult | undefined
  const reports: AttemptReport[] = []
  /** Of the one connection, in their order; undefined while there is none. */
  let wire: AttemptEvent[] | undefined
  let isGreeted = false
  let answers: Answer[] = []
  let timers: { due: number; event: AttemptEvent }[] = []

  if (found !== 'nothing') shim = 'born'
  if (found !== 'nothing' && found !== 'a shim') {
    stepShim()
    stepShim()
  }
  if (found === 'an exit') endWorker(0)
  if (found === 'an exit' || found === 'a dead shim') killShim('SIGKILL')

  const [initial, effects] = rules.begin(how, at)
  let state: AttemptState = initial
  for (const effect of effects) perform(effect)

  return {
    moves,
    mishaps,
    reports,
    result: () => result,
    isOver: () => state.phase === 'over',
    /** Lets everything take its course, and has the attempt stopped if that has no end. */
    settle(): void {
      for (let moved = 0; state.phase !== 'over'; moved++) {
        assert(moved < 10_000, `the attempt stays ${state.phase}`)
        const usual = moves().find(([name]) => /^(answer|wire|shim)/.test(name))
        if (usual) usual[1]()
        else if (timers.length > 0) passTime()
        else if (!stopAsked) stop('canceled')
        else assert.fail(`nothing more will happen, and the attempt is ${state.phase}`)
        if (moved === 400) stop('canceled')
      }
    },
  }

  /** The ordinary moves that are possible now, by name. */
  function moves(): [name: string, move: () => void][] {
    const list: [string, () => void][] = []
    for (const [n, answer] of answers.entries()) {
      if (answer.found || answer.find() !== 'notYet') {
        list.push([answer.found ? `answer ${n} arrives` : `answer ${n} is found`, () => take(n)])
      }
    }
    const message = wire?.[0]
    if (message) list.push([`wire: ${message.type}`, () => readWire(message)])
    if (['born', 'claimed', 'reaping'].includes(shim) && !isHung)
      list.push(['shim goes on', stepShim])
    if (shim === 'working' && !isHung) {
      list.push(['the worker ends', () => endWorker(0)], ['the worker fails', () => endWorker(1)])
      if (stopReason !== null) list.unshift(['shim stops the worker', () => endWorker(null)])
    }
    if (timers.length > 0) list.push(['time passes', passTime])
    return list
  }

  /** Everything that seldom happens, and can now. */
  function mishaps(): [name: string, move: () => void][] {
    const list: [string, () => void][] = [
      ['the machine sleeps', sleep],
      ['the fork server dies', loseForkServer],
      ['its files are removed', removeFiles],
      ['its worker writes an exit', forgeExit],
      ['the disk is full', () => receive({ type: 'noRoomSeen' })],
      ['a stop is asked for', () => stop('canceled')],
      ['it is detached', detach],
    ]
    // Force is used once: a shim that hangs only after it is out of reach.
    if (shim === 'working' && !isForced) list.push(['it hangs', hang])
    if (shim !== 'unborn' && shim !== 'gone') list.push(['it is killed', () => killShim('SIGKILL')])
    return list
  }

  function take(n: number): void {
    const answer = answers[n] as Answer
    if (answer.found) {
      answers = answers.toSpliced(n, 1)
      receive(answer.found)
      return
    }
    const event = answer.find()
    if (event !== 'notYet') answer.found = event
  }

  function readWire(message: AttemptEvent): void {
    wire?.shift()
    receive(message)
  }

  function hang(): void {
    isHung = true
  }

  /** A shim that lives keeps its connection, and its result has nowhere to go. */
  function removeFiles(): void {
    areFilesRemoved = true
    exit = undefined
  }

  function forgeExit(): void {
    if (!isWorkerAlive || areFilesRemoved) return
    isForged = true
    exit = anExit()
  }

  function loseForkServer(): void {
    isForkServerGone = true
  }

  function sleep(): void {
    at += 6_000
  }

  function passTime(): void {
    const next = timers.toSorted((a, b) => a.due - b.due)[0]
    if (!next) return
    timers = timers.filter((one) => one !== next)
    at = Math.max(at, next.due)
    receive(next.event)
  }

  function stop(reason: StopReason): void {
    stopAsked = true
    receive({ type: 'stopAsked', reason, graceMs: 1_000 })
  }

  function detach(): void {
    isDetached = true
    receive({ type: 'detached' })
  }

  function receive(event: AttemptEvent): void {
    const wasOver = state.phase === 'over'
    const [next, effects] = rules.transition(state, event, at)
    state = next
    assert(!wasOver || effects.length === 0, 'something is done after the end')
    for (const effect of effects) perform(effect)
  }

  function stepShim(): void {
    if (areFilesRemoved && shim !== 'reaping') leave()
    else if (shim === 'born') {
      if (claim === 'free') {
        claim = 'shim'
        shim = 'claimed'
      } else leave()
    } else if (shim === 'claimed') {
      shim = 'working'
      isWorkerAlive = true
      hasWorked = true
      isStateWritten = true
    } else if (shim === 'reaping') leave()
  }

  function endWorker(code: number | null): void {
    isWorkerAlive = false
    told = anExit({ code, ...(code === null && { signal: 'SIGTERM', reason: stopReason }) })
    if (!areFilesRemoved) exit = told
    if (isGreeted) wire?.push({ type: 'exitFound', exit: told, source: 'shim' })
    shim = 'reaping'
  }

  function killShim(signal: string): void {
    killedBy = signal
    // One leftover process in this world: the worker goes with its shim, or stays.
    leave()
  }

  function leave(): void {
    shim = 'gone'
    isHung = false
    if (isGreeted) wire?.push({ type: 'connectionClosed' })
  }

  function perform(effect: AttemptEffect): void {
    const answer = (find: Answer['find']) => answers.push({ find })
    switch (effect.do) {
      case 'startShim':
        shim = 'born'
        answer(() => {
          if (isForkServerGone) return { type: 'shimUnwatched' }
          return shim === 'gone' ? { type: 'shimEnded', signal: killedBy } : 'notYet'
        })
        break
      case 'lookForExit':
        answer(() => (exit ? { type: 'exitFound', exit, source: 'file' } : { type: 'noExitFound' }))
        break
      case 'lookForLastExit':
        wasExitThere = exit !== undefined
        answer(() => (exit ? { type: 'exitFound', exit, source: 'file' } : { type: 'noExitLeft' }))
        break
      case 'connect':
        connect()
        break
      case 'revoke':
        if (areFilesRemoved) {
          receive({ type: 'claimAnswered', claim: 'noFiles' })
          break
        }
        if (claim === 'free') claim = 'service'
        receive({ type: 'claimAnswered', claim: claim === 'service' ? 'revoked' : 'taken' })
        break
      case 'checkLife': {
        const life = shim === 'gone' ? 'dead' : 'alive'
        const isKnown = isStateWritten && !areFilesRemoved
        answer(() => ({ type: 'lifeChecked', life: isKnown ? life : 'unknown' }))
        break
      }
      case 'lookAgain':
        timers.push({ due: at + 25, event: { type: 'lookDue' } })
        break
      case 'askWhyNothingStarted':
        answer(() => ({ type: 'cannotStart', why: 'it said nothing' }))
        break
      case 'sendStop':
        assert(wire, 'a stop is sent to nobody')
        stopReason ??= effect.reason
        break
      case 'expectForce':
        timers.push({ due: at + effect.afterMs, event: { type: 'forceDue' } })
        break
      case 'force':
        assert(stopAsked, 'a generation is killed that nobody wanted to stop')
        isForced = true
        isWorkerAlive = false
        if (isStateWritten && shim !== 'gone') killShim('SIGKILL')
        break
      case 'clear':
        answer(() => {
          const found = isWorkerAlive ? 1 : 0
          isWorkerAlive = false
          if (shim !== 'unborn' && shim !== 'gone') killShim('SIGKILL')
          return { type: 'cleared', found, survivors: 0, hasFiles: !areFilesRemoved }
        })
        break
      case 'followOutput':
        answer(() => ({
          type: 'outputRead',
          reading: { stage: 'denoising', step: 1, totalSteps: 2 },
        }))
        break
      case 'finishOutput':
        answer(() => ({ type: 'outputFinished', hasFiles: !areFilesRemoved }))
        break
      case 'awaitShimEnd':
        answer(() => (isShimGone() ? { type: 'shimGone' } : 'notYet'))
        break
      case 'letGo':
        wire = undefined
        break
      case 'report':
        hear(effect.report)
        break
      case 'lookLater':
        throw new Error('descriptors never run out in this world')
      case 'log':
        break
      default:
        effect satisfies never
    }
  }

  function connect(): void {
    const isThere = !['unborn', 'born', 'gone'].includes(shim) && !areFilesRemoved
    isGreeted = isThere
    wire = isThere
      ? [{ type: 'helloReceived', startedAt: hasWorked ? midnight + 10 : null }]
      : [{ type: 'connectionClosed' }]
    if (isThere && shim === 'reaping' && told) {
      wire.push({ type: 'exitFound', exit: told, source: 'shim' })
    }
  }

  function hear(report: AttemptReport): void {
    assert(!isDetached, `${report.type} is reported after the detach`)
    assert(!result, `${report.type} is reported after the end`)
    const isStarted = reports.some(({ type }) => type === 'started')
    assert(report.type !== 'started' || !isStarted, 'the start is reported twice')
    assert(report.type !== 'reading' || isStarted, 'a reading is reported before the start')
    reports.push(report)
    if (report.type !== 'ended') return
    result = report.result
    expectTruth(report.result, isStarted)
  }

  function expectTruth(result: GenerationResult, isStarted: boolean): void {
    const neverRan = result.how === 'neverBegan' || isStartFailure(result)
    const isRevoked = claim === 'service' && !hasWorked
    assert(!isWorkerAlive, `${result.how} is reported while the worker lives`)
    assert(!neverRan || isRevoked || areFilesRemoved, `${result.how}, and the claim is ${claim}`)
    assert(!neverRan || shim !== 'claimed', `${result.how}, and its shim is about to start it`)
    assert(neverRan || isStarted || areFilesRemoved, `${result.how} is reported before the start`)
    if (result.how === 'completed') assert(isForged || told?.code === 0, 'completed, and it failed')
    const isLost = result.how === 'lost' || isLostOnFullDisk(result)
    if (result.how === 'failed' && !neverRan && !isLost) {
      assert(areFilesRemoved || (told && told.code !== 0), 'failed, and nothing was wrong')
    }
    if (isLost) {
      assert(!wasExitThere || areFilesRemoved, 'lost, and its exit was there at the last look')
    }
    if (result.how === 'neverBegan') {
      assert(how === 'adopt' || isForkServerGone, 'its shim was to come')
    }
    const isGone = !isWorkerAlive && isShimGone()
    assert(neverRan || !stopAsked || isGone, 'a stop is answered while something runs')
  }

  /** As far as can be known. Nobody waits for a shim that hangs. */
  function isShimGone(): boolean {
    return shim === 'gone' || isHung || !isStateWritten
  }
}

const isLostOnFullDisk = (result: GenerationResult): boolean =>
  result.how === 'failed' && result.failure.message.includes('nobody could see how it ended')

const isStartFailure = (result: GenerationResult): boolean =>
  result.how === 'failed' && result.failure.code === 'environment_broken'
