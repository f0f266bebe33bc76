/**
 * A world around the queue's rules: a store, GPUs whose generations outlive them, a converter, and
 * crashes of each. It watches itself: what must never happen throws as soon as it does.
 */
import { strict as assert } from 'node:assert'
import { createPlace } from '../../src/actors/actor.ts'
import type { GenerationResult, StopReason } from '../../src/actors/gpu/gpu-ports.ts'
import { get, size, values } from '../../src/actors/ordered-map.ts'
import { claimsAllowed } from '../../src/actors/queue/environment-state.ts'
import { gpuWorkOf, gpuWorkSince } from '../../src/actors/queue/journal/gpu-work.ts'
import { nodeOn } from '../../src/actors/queue/nodes.ts'
import type { QueueEffect } from '../../src/actors/queue/queue-effects.ts'
import type { QueueOperation } from '../../src/actors/queue/queue-ports.ts'
import type {
  CancelAnswer,
  CancelSelection,
  QueueCommand,
  QueueNews,
  Submission,
  SubmitAnswer,
} from '../../src/actors/queue/queue-protocol.ts'
import type { restoreQueue } from '../../src/actors/queue/queue-restore.ts'
import type { QueueSettings } from '../../src/actors/queue/queue-state.ts'
import type { transition } from '../../src/actors/queue/rules/queue-transition.ts'
import { RefusalError } from '../../src/domain/errors.ts'
import type { AttemptKey } from '../../src/domain/job.ts'
import {
  type FailureCode,
  type GpuId,
  type JobId,
  type Reading,
  shapeOf,
  stages,
} from '../../src/domain/job.ts'
import { aFailure, anybody, aRequest, aVideo, gpu0, gpu1, gpu2, jobId, midnight } from './jobs.ts'
import { homeOf } from './nodes.ts'
import { createPlainStore, type StoredJob } from './plain-store.ts'

/** The rules under test, or what a test makes of them. */
export type Rules = Readonly<{ transition: typeof transition; restoreQueue: typeof restoreQueue }>

export const allGpus = [gpu0, gpu1, gpu2]

/** What a GPU's actor is told, and reads when its turn comes. */
type Order = Readonly<
  | { type: 'announce' }
  | ({ type: 'run' | 'adopt' } & AttemptKey)
  | ({ type: 'stop'; reason: StopReason } & AttemptKey)
>

type Gpu = {
  incarnation: number
  up: boolean
  inbox: Order[]
  holding?: AttemptKey | undefined
}

/** The process and its shim: it lives on whatever dies around it. */
type Generation = {
  attempt: AttemptKey
  gpu: GpuId
  reading?: Reading
  stopped?: StopReason
  result?: GenerationResult
}

type Conversion = { attempt: AttemptKey; aborted: boolean }

/** Answers that were asked for: a crash takes the askers with it. */
type Canceler = { answers: CancelAnswer[]; gone: boolean }

export type AttemptNews = Extract<QueueNews, AttemptKey>

/** What a job is submitted with, where that matters. */
type Submitted = Readonly<{
  filename?: string | undefined
  key?: string | undefined
  fingerprint?: string
}>

export type World = ReturnType<typeof createWorld>

export function createWorld(first: QueueSettings, { transition, restoreQueue }: Rules) {
  const store = createPlainStore()
  const gpus = new Map<GpuId, Gpu>(
    allGpus.map((gpu) => [gpu, { incarnation: 0, up: false, inbox: [] }]),
  )
  const generations = new Map<string, Generation>()
  const conversions = new Map<string, Conversion>()
  const cancelers = new Map<unknown, Canceler>()
  /** Jobs that somebody wished to be canceled while they ran. */
  const wishes = new Set<JobId>()
  const fingerprints = new Map<unknown, string>()
  const history: AttemptNews[] = []
  const mail: (QueueCommand | QueueNews)[] = []
  let settings = first
  let state = restoreQueue(settings, store.load())
  let overdue: number[] = []
  let pauses: number[] = []
  /** Attempts whose load no longer holds up others. */
  const slowLoads = new Set<string>()
  /** As far as the queue knows of it. */
  let template: { build: number; isLoading: boolean } | undefined
  let knownThen = new Set<JobId>()
  let submissions = 0
  let now = midnight
  /** As those who look on have been told. */
  let seenWork = workNow(gpuWorkOf(state))
  /** While it is, the queue is down and hears nothing. */
  let deaf = false

  // --- the queue ------------------------------------------------------------------------------

  function tellQueue(message: QueueCommand | QueueNews): void {
    if ('epoch' in message) history.push(message)
    if (!deaf) mail.push(message)
  }

  /** Each turn is durable before anybody hears of it. */
  function turn(): void {
    for (let message = mail.shift(); message; message = mail.shift()) {
      now += 1
      const [next, effects] = transition(state, message, now)
      look(gpuWorkSince(state, next))
      state = next
      for (const effect of effects) if (effect.do === 'store') keep(effect.operation)
      for (const effect of effects) perform(effect)
      checkInvariants()
    }
  }

  function look({ gpus, rest }: ReturnType<typeof gpuWorkSince>): void {
    seenWork = new Map([...(rest === 'same' ? seenWork : []), ...workNow(gpus)])
  }

  function keep(operation: QueueOperation): void {
    if (operation.op === 'claim') checkClaim(operation)
    if (operation.op === 'release') {
      const began = generations.has(keyOf(operation))
      assert.equal(operation.failure !== undefined, began, 'what began counts, and nothing else')
    }
    if (operation.op === 'finish' && wishes.has(operation.jobId)) {
      assert.equal(operation.outcome.status, 'canceled', 'what is canceled ends as nothing else')
    }
    store.apply(operation)
  }

  function perform(effect: QueueEffect): void {
    switch (effect.do) {
      case 'prepareSubmission':
        tellQueue({ type: 'admit', ...prepared(effect) })
        break
      case 'answer':
        if (effect.to.name === 'canceler') checkAnswer(effect.to, effect.value as CancelAnswer)
        else if (effect.to.name === 'submitter') checkTaken(effect.value as SubmitAnswer)
        break
      case 'findRepeated':
        assert(store.find(effect.jobId), 'a job that is there already is on disk')
        break
      case 'startGeneration':
        order(effect.gpu, { type: 'run', ...keyIn(effect) })
        break
      case 'adoptGeneration':
        order(effect.gpu, { type: 'adopt', ...keyIn(effect) })
        break
      case 'stopGeneration':
        order(effect.gpu, { type: 'stop', ...keyIn(effect), reason: effect.reason })
        break
      case 'convert':
        if (conversions.has(keyOf(effect))) break
        conversions.set(keyOf(effect), { attempt: keyIn(effect), aborted: false })
        break
      case 'abortConversion': {
        const conversion = conversions.get(keyOf(effect))
        if (conversion) conversion.aborted = true
        else tellQueue({ type: 'conversionAborted', ...keyIn(effect) })
        break
      }
      case 'discardWork':
        assert(!isAtWork(effect.jobId), 'nothing is at work on what is discarded')
        break
      case 'continueCancel':
        tellQueue({ type: 'cancelContinues', ticket: effect.ticket })
        break
      case 'expectCancel':
        overdue.push(effect.ticket)
        break
      case 'expectPause':
        pauses.push(effect.pause)
        break
      case 'giveTemplateTurn':
        assert(template?.build === effect.build, 'the template that waits gets the turn')
        template.isLoading = true
        assert(loadsNow() <= settings.maxConcurrentLoads, 'a template waits for its turn')
        break
    }
  }

  function order(gpu: GpuId, order: Order): void {
    const actor = gpuOf(gpu)
    if (actor.up) actor.inbox.push(order)
    else if (order.type === 'run') tellQueue({ type: 'runDeclined', ...keyIn(order) })
  }

  // --- GPUs and their generations -------------------------------------------------------------

  const gpuOf = (gpu: GpuId): Gpu => {
    const found = gpus.get(gpu)
    assert(found)
    return found
  }

  function readOrder(gpu: GpuId): void {
    const actor = gpuOf(gpu)
    const next = actor.inbox.shift()
    if (!next) return
    if (next.type === 'announce') announce(gpu)
    else if (next.type === 'stop') {
      const generation = generations.get(keyOf(next))
      if (generation && isSame(actor.holding, next)) generation.stopped ??= next.reason
    } else if (!actor.holding) take(gpu, next)
    else if (!isSame(actor.holding, next)) tellQueue({ type: 'runDeclined', ...keyIn(next) })
  }

  function take(gpu: GpuId, taken: Extract<Order, { type: 'run' | 'adopt' }>): void {
    const attempt = keyIn(taken)
    const known = generations.get(keyOf(attempt))
    gpuOf(gpu).holding = attempt
    if (known?.result) tellEnd(gpu, attempt, known.result)
    else if (known) tellProgress(attempt)
    else if (taken.type === 'adopt') tellEnd(gpu, attempt, { how: 'neverBegan' })
    else {
      assert(!liveOn(gpu), `GPU ${gpu} has a generation already`)
      generations.set(keyOf(attempt), { attempt, gpu })
      tellProgress(attempt)
    }
  }

  function announce(gpu: GpuId): void {
    const { incarnation, holding } = gpuOf(gpu)
    const who = { gpu, incarnation: `gpu-${gpu}.${incarnation}` }
    tellQueue({ type: 'gpuReady', ...who, ...(holding && { holding }) })
    if (holding) tellProgress(holding)
  }

  function tellProgress(attempt: AttemptKey): void {
    const generation = generations.get(keyOf(attempt))
    assert(generation, 'only what has begun tells of itself')
    const { gpu, reading } = generation
    tellQueue({ type: 'generationStarted', gpu, startedAt: now, ...attempt })
    if (reading) tellQueue({ type: 'generationReported', gpu, reading, ...attempt })
  }

  function tellEnd(gpu: GpuId, attempt: AttemptKey, result: GenerationResult): void {
    const actor = gpuOf(gpu)
    actor.holding = undefined
    tellQueue({ type: 'generationEnded', result, ...attempt })
    tellQueue({ type: 'gpuReady', gpu, incarnation: `gpu-${gpu}.${actor.incarnation}` })
  }

  const liveOn = (gpu: GpuId): Generation | undefined =>
    [...generations.values()].find((one) => one.gpu === gpu && !one.result)

  const isAtWork = (id: JobId): boolean =>
    [...generations.values()].some(({ attempt, result }) => attempt.jobId === id && !result) ||
    [...conversions.values()].some(({ attempt }) => attempt.jobId === id)

  function progress(gpu: GpuId): void {
    const generation = liveOn(gpu)
    if (!generation) return
    generation.reading = after(generation.reading)
    const { attempt, reading } = generation
    if (isSame(gpuOf(gpu).holding, attempt)) {
      tellQueue({ type: 'generationReported', gpu, reading, ...attempt })
    }
  }

  function endGeneration(gpu: GpuId, result: GenerationResult): void {
    const generation = liveOn(gpu)
    if (!generation) return
    generation.result = result
    if (isSame(gpuOf(gpu).holding, generation.attempt)) tellEnd(gpu, generation.attempt, result)
  }

  function endConversion(which: number, failure?: FailureCode): void {
    const conversion = pick([...conversions.values()], which)
    if (!conversion) return
    const { attempt, aborted } = conversion
    conversions.delete(keyOf(attempt))
    // An abort may come too late for one that is done already.
    if (failure === undefined) tellQueue({ type: 'converted', video: aVideo(), ...attempt })
    else if (aborted) tellQueue({ type: 'conversionAborted', ...attempt })
    else tellQueue({ type: 'conversionFailed', failure: aFailure(failure), ...attempt })
  }

  // --- crashes --------------------------------------------------------------------------------

  function startGpu(gpu: GpuId): void {
    const actor = gpuOf(gpu)
    if (actor.up) return
    Object.assign(actor, { up: true, incarnation: actor.incarnation + 1 })
    actor.inbox.push({ type: 'announce' })
  }

  function crashGpu(gpu: GpuId): void {
    Object.assign(gpuOf(gpu), { up: false, inbox: [], holding: undefined })
    tellQueue({ type: 'gpuGone', gpu, givenUp: false })
  }

  /** Comes back with what is on disk, and asks who is there. */
  function restartQueue(): void {
    mail.length = 0
    overdue = []
    pauses = []
    for (const canceler of cancelers.values()) canceler.gone ||= canceler.answers.length === 0
    template = undefined
    state = restoreQueue(settings, store.load())
    seenWork = workNow(gpuWorkOf(state))
    knownThen = new Set(store.all().map(({ jobId }) => jobId))
    for (const { up, inbox } of gpus.values()) if (up) inbox.push({ type: 'announce' })
    tellQueue({ type: 'conversionReady' })
  }

  function crashQueue(unheard: () => void): void {
    deaf = true
    unheard()
    deaf = false
    restartQueue()
  }

  function crashService(gpusThen: readonly GpuId[], { reboot }: { reboot: boolean }): void {
    for (const actor of gpus.values()) {
      Object.assign(actor, { up: false, inbox: [], holding: undefined })
    }
    conversions.clear()
    if (reboot) {
      for (const generation of generations.values()) generation.result ??= { how: 'lost' }
    }
    settings = { ...settings, gpus: gpusThen }
    restartQueue()
  }

  // --- what must be so ------------------------------------------------------------------------

  function checkClaim({ jobId, epoch, attempt, gpu }: Extract<QueueOperation, { op: 'claim' }>) {
    // One that has failed before may be waiting for another GPU than the one that is free.
    const [oldest] = store.having('queued').filter((job) => job.jobId === jobId || !job.failures)
    const { faults, breaker } = nodeOn(state, gpu).environment
    assert.equal(faults.length, 0, 'nothing is claimed while a check fails')
    assert.notEqual(breaker.phase, 'open', 'nothing is claimed during a pause')
    if (breaker.phase === 'halfOpen') {
      assert.equal(breaker.probe?.jobId, jobId, 'one job at a time is a probe')
    } else assert.equal(jobId, oldest?.jobId, 'the oldest waiting job is claimed')
    assert(settings.gpus.includes(gpu), `GPU ${gpu} is not ours`)
    assert(gpuOf(gpu).incarnation > 0, `GPU ${gpu} has never been there`)
    assert(state.open, 'nothing is claimed once the queue is closed')
    const failures = store.find(jobId)?.failures ?? 0
    assert.equal(attempt, failures + 1, 'failures are counted, and nothing else')
    assert(attempt <= settings.maxAttempts, `attempt ${attempt} is one too many`)
    assert(![...generations.values()].some((one) => isSame(one.attempt, { jobId, epoch })))
    const loading = loadsNow() + 1
    assert(loading <= settings.maxConcurrentLoads, `${loading} load at once`)
  }

  const loadsNow = (): number =>
    store.having('running').filter(isLoading).length + (template?.isLoading ? 1 : 0)

  /** As it is, whether or not the queue knows it. */
  function isLoading({ jobId, epoch, attempt }: StoredJob): boolean {
    const generation = generations.get(keyOf({ jobId, epoch }))
    if (attempt?.phase !== 'generating' || generation?.result) return false
    if (slowLoads.has(keyOf({ jobId, epoch }))) return false
    return !generation?.reading || generation.reading.stage === 'loading'
  }

  function checkTaken(answer: SubmitAnswer): void {
    if (answer instanceof RefusalError) return
    assert(store.find(answer.job.id), 'a job that was taken is on disk')
  }

  function checkAnswer(to: unknown, { canceled, canceling, rest }: CancelAnswer): void {
    const canceler = cancelers.get(to)
    assert(canceler && !canceler.gone, 'an answer goes to who is there to hear it')
    canceler.answers.push({ canceled, canceling, rest })
    assert.equal(canceler.answers.length, 1, 'one question, one answer')
    for (const id of canceled) assert.equal(store.find(id)?.status, 'canceled')
    for (const id of canceling) assert(store.find(id)?.status === 'running' && wishes.has(id))
    for (const id of rest) assert.notEqual(store.find(id)?.status, 'running')
  }

  function checkInvariants(): void {
    const queued = store.having('queued')
    const running = store.having('running')

    assert.deepEqual(
      [...values(state.waiting)].map(({ failedOn: _, ...job }) => job),
      queued
        .toSorted((a, b) => a.seq - b.seq)
        .map(({ jobId, owner, seq, submittedAt, epoch, attempts, request }) => ({
          ...{ jobId, owner, seq, submittedAt, epoch, attempts, shape: shapeOf(request) },
          ...(request.filename && { filename: request.filename }),
        })),
      'the queue shows what is stored of waiting jobs',
    )
    assert.equal(size(state.seqOf), queued.length)
    for (const { jobId, seq } of queued) assert.equal(get(state.seqOf, jobId), seq)
    assert.deepEqual(
      new Map(
        [...state.running].map(
          ([id, { reading: _, orphaned: __, isLoadOverdue: ___, isRestored: ____, ...job }]) => [
            id,
            job,
          ],
        ),
      ),
      new Map(
        running.map(({ jobId, cancelRequested, attempt, request, ...job }) => [
          jobId,
          {
            ...{
              jobId,
              owner: job.owner,
              seq: job.seq,
              submittedAt: job.submittedAt,
              epoch: job.epoch,
              attempts: job.attempts,
              shape: shapeOf(request),
              cancelRequested,
              ...attempt,
            },
            ...(request.filename && { requestedFilename: request.filename }),
          },
        ]),
      ),
      'the queue shows what is stored of running jobs',
    )

    const promised = [...queued, ...running].flatMap(({ request }) => request.filename ?? [])
    assert.deepEqual(
      new Set(promised.map((name) => name.toLowerCase())).size,
      promised.length,
      'no two active jobs have one name',
    )
    assert.equal(size(state.names), promised.length)
    const isPreparing = mail.some(({ type }) => type === 'admit')
    assert(isPreparing || size(state.reserved) === 0, 'no name stays reserved for nobody')

    const live = [...generations.values()].filter(({ result }) => !result)
    assert.equal(new Set(live.map(({ gpu }) => gpu)).size, live.length, 'one generation per GPU')
    for (const { attempt, gpu, stopped } of live) {
      const job = store.find(attempt.jobId)
      assert(job?.status === 'running' && job.epoch === attempt.epoch, 'nobody runs for nothing')
      const { holding, inbox } = gpuOf(gpu)
      if (!job.cancelRequested || !isSame(holding, attempt)) continue
      const told = inbox.some((order) => order.type === 'stop' || order.type === 'announce')
      assert(stopped || told, 'what is canceled is stopped')
    }

    const silent = [...state.running.values()].filter(
      ({ phase, reading, isLoadOverdue }) =>
        phase === 'generating' && !isLoadOverdue && (reading?.stage ?? 'loading') === 'loading',
    )
    const busy = running.flatMap(({ attempt }) =>
      attempt?.phase === 'generating' ? [attempt.gpu] : [],
    )
    const free = settings.gpus.filter((gpu) => state.readyGpus.has(gpu) && !busy.includes(gpu))
    const { templateLoad, environment } = homeOf(state)
    const loads = silent.length + (templateLoad?.hasBegun ? 1 : 0)
    const maySomethingLoad = state.open && loads < settings.maxConcurrentLoads
    const waits = templateLoad?.hasBegun === false
    assert(!maySomethingLoad || !waits, 'no template waits while there is a turn')
    const hasTurn = templateLoad?.hasBegun && templateLoad.build === template?.build
    assert(!hasTurn || template?.isLoading, 'a template is told of its turn')
    const mayClaim = maySomethingLoad && claimsAllowed(environment) === 'any'
    const fresh = queued.filter(({ failures }) => failures === 0)
    assert(!mayClaim || free.length === 0 || fresh.length === 0, 'no GPU idles while jobs wait')

    assert.deepEqual(seenWork, workNow(gpuWorkOf(state)), 'who looks on knows the work of all GPUs')

    for (const { waitingFor } of state.tickets.values()) {
      assert(waitingFor.size > 0)
      for (const id of waitingFor) assert(store.find(id)?.cancelRequested)
    }
  }

  /** What a look into the store has found is as old as it may be: from when the queue began. */
  function prepared({
    draft,
    client,
    repetition,
    replyTo,
  }: Extract<QueueEffect, { do: 'prepareSubmission' }>): Submission {
    submissions += 1
    const { key } = repetition
    const fingerprint = fingerprints.get(replyTo) ?? 'a'
    const identity = { caller: 'somebody', fingerprint, ...(key !== undefined && { key }) }
    const known = key === undefined ? undefined : store.findSubmission(identity)
    const earlier = known && knownThen.has(known.jobId) ? known : undefined
    const { filename } = draft
    const nameTaken = store
      .having('success')
      .some(({ request }) => request.filename?.toLowerCase() === filename?.toLowerCase())
    return {
      ...{ jobId: jobId(submissions), client, identity, repetition, earlier, replyTo },
      request: aRequest(filename === undefined ? {} : { filename }),
      nameTaken: filename !== undefined && nameTaken,
    }
  }

  // --- what may happen ------------------------------------------------------------------------

  const world = {
    submit({ filename, key, fingerprint = 'a' }: Submitted = {}): void {
      const replyTo = createPlace<SubmitAnswer>('submitter')
      fingerprints.set(replyTo, fingerprint)
      tellQueue({
        type: 'submit',
        draft: aRequest(filename === undefined ? {} : { filename }),
        client: anybody,
        repetition: { isRetry: false, ...(key !== undefined && { key }) },
        replyTo,
      })
    },

    /** By id: of jobs that were submitted, and else of jobs that never will be. */
    cancel(selected: CancelSelection | readonly number[]): void {
      const selection =
        'status' in selected || 'ids' in selected
          ? selected
          : { ids: selected.map((n) => jobId(n <= submissions ? n : 1_000 + n)) }
      const replyTo = createPlace<CancelAnswer>('canceler')
      cancelers.set(replyTo, { answers: [], gone: false })
      for (const { jobId } of store.having('running')) {
        const isSelected =
          'ids' in selection ? selection.ids.includes(jobId) : selection.status.includes('running')
        if (isSelected) wishes.add(jobId)
      }
      tellQueue({ type: 'cancel', selection, scope: 'everything', replyTo })
    },

    cancelOverdue(which: number): void {
      const ticket = pick(overdue, which)
      if (ticket === undefined) return
      overdue = overdue.filter((other) => other !== ticket)
      tellQueue({ type: 'cancelOverdue', ticket })
    },

    endPause(which: number): void {
      const pause = pick(pauses, which)
      if (pause === undefined) return
      pauses = pauses.filter((other) => other !== pause)
      tellQueue({ type: 'pauseEnded', pause })
    },

    loadOverdue(which: number): void {
      const job = pick(store.having('running'), which)
      if (job?.attempt?.phase !== 'generating') return
      slowLoads.add(keyOf(job))
      tellQueue({ type: 'loadOverdue', ...keyIn(job) })
    },

    /** Also again, and one that takes the place of another. */
    askTemplateTurn(build: number): void {
      if (template?.build !== build) template = { build, isLoading: false }
      tellQueue({ type: 'templateWaits', build })
    },

    endTemplateTurn(how: 'templateSettled' | 'templateOverdue'): void {
      if (!template) return
      tellQueue({ type: how, build: template.build })
      template = undefined
    },

    checkEnvironment: (ok: boolean) =>
      tellQueue({ type: 'environmentChecked', checks: [{ name: 'a tool', ok, detail: '' }] }),

    learn(speeds: readonly number[]): void {
      const secondsPerJob = new Map(allGpus.map((gpu) => [gpu, speeds[gpu] ?? 1]))
      tellQueue({ type: 'speedsLearned', secondsPerJob })
    },

    close: () =>
      tellQueue({ type: 'close', mode: 'detach', replyTo: createPlace<'closed'>('nobody') }),

    startGpu: (which: number) => withGpu(which, ({ up }) => !up, startGpu),
    readOrder: (which: number) => withGpu(which, ({ inbox }) => inbox.length > 0, readOrder),
    progress: (which: number) => withGpu(which, (_, gpu) => liveOn(gpu) !== undefined, progress),
    endGeneration: (which: number, result: GenerationResult) =>
      withGpu(
        which,
        (_, gpu) => liveOn(gpu) !== undefined,
        (gpu) => endGeneration(gpu, result),
      ),
    endConversion,
    crashGpu: (which: number) => withGpu(which, ({ up }) => up, crashGpu),
    crashQueue,
    crashService,

    /** News of an attempt that is over changes nothing at all; it is stopped, wherever it may be. */
    repeatOldNews(which: number): void {
      const news = pick(history, which)
      if (!news || isCurrent(news)) return
      const before = state
      const [next, effects] = transition(state, news, now)
      assert(next === before, `${news.type} comes too late`)
      for (const effect of effects) {
        assert(
          effect.do === 'stopGeneration' && isSame(effect, news),
          'no other attempt is stopped',
        )
        perform(effect)
      }
    },
  }

  /** Does it to one of the GPUs to which it can be done. */
  function withGpu(
    which: number,
    isOne: (actor: Gpu, gpu: GpuId) => boolean,
    act: (gpu: GpuId) => void,
  ): void {
    const gpu = pick(
      allGpus.filter((gpu) => isOne(gpuOf(gpu), gpu)),
      which,
    )
    if (gpu !== undefined) act(gpu)
  }

  function isCurrent({ jobId, epoch, type }: AttemptNews): boolean {
    const job = store.find(jobId)
    const phase = type.startsWith('conver') ? 'converting' : 'generating'
    return job?.status === 'running' && job.epoch === epoch && job.attempt?.phase === phase
  }

  return {
    /** Something happens, and everything that it leads to at once. */
    let(happen: (may: typeof world) => void): void {
      happen(world)
      turn()
    },

    /** With everybody there and at work, every job comes to its end. */
    settle(): void {
      if (!state.open) crashService(settings.gpus, { reboot: false })
      turn()
      for (let round = 0; isUnsettled(); round++) {
        assert(round < 20 * (submissions + 1), 'every job comes to its end')
        world.checkEnvironment(true)
        world.endTemplateTurn('templateSettled')
        for (let n = 0; n <= pauses.length; n++) world.endPause(n)
        turn()
        for (const gpu of allGpus) {
          startGpu(gpu)
          while (gpuOf(gpu).inbox.length > 0) {
            readOrder(gpu)
            turn()
          }
          progress(gpu)
          turn()
          endGeneration(gpu, { how: 'completed' })
          turn()
        }
        while (conversions.size > 0) {
          endConversion(0)
          turn()
        }
      }
      for (const { gone, answers } of cancelers.values()) {
        assert(gone || answers.length === 1, 'every question is answered')
      }
    },
  }

  function isUnsettled(): boolean {
    return store.all().some(({ status }) => status === 'queued' || status === 'running')
  }
}

const workNow = (gpus: ReturnType<typeof gpuWorkOf>) =>
  new Map([...gpus].map(([gpu, spells]) => [gpu, spells.at(-1)?.work]))

const keyIn = ({ jobId, epoch }: AttemptKey): AttemptKey => ({ jobId, epoch })
const keyOf = ({ jobId, epoch }: AttemptKey): string => `${jobId}/${epoch}`
const isSame = (a: AttemptKey | undefined, b: AttemptKey): boolean =>
  a?.jobId === b.jobId && a.epoch === b.epoch

const pick = <T>(list: readonly T[], which: number): T | undefined => list[which % list.length]

/** One step on, or one stage. */
function after({ stage, step = 0 }: Reading = { stage: 'loading' }): Reading {
  const totalSteps = 2
  if (stage === 'denoising' && step < totalSteps) return { stage, step: step + 1, totalSteps }
  const next = stages[stages.indexOf(stage) + 1] ?? stage
  return { stage: next === 'converting' ? stage : next }
}
