/** Cost of one reading with many GPUs: the rules of the queue alone, and together with their listeners. */
import { initialEta } from '../../src/actors/eta/eta-state.ts'
import { transition as etaTransition } from '../../src/actors/eta/eta-transition.ts'
import { startLog } from '../../src/actors/event/event-state.ts'
import { transition as eventTransition } from '../../src/actors/event/event-transition.ts'
import {
  type Journal,
  type JournalEffect,
  newJournal,
  type QueueMail,
} from '../../src/actors/queue/journal/journal-state.ts'
import { createJournal } from '../../src/actors/queue/journal/queue-journal.ts'
import type { QueueSettings } from '../../src/actors/queue/queue-state.ts'
import type { GpuId, Job, JobId, Reading } from '../../src/domain/job.ts'
import { type NodeName, soleNode } from '../../src/domain/node.ts'
import { createMetrics } from '../../src/infra/metrics/metrics.ts'
import { median, ms, quantile, type Report } from './figures.ts'

const sizes = [16, 160, 1_600] as const
const waiting = 100_000
const gpusPerNode = 16
const maxConcurrentLoads = 4
/** Each GPU reads as often. */
const everyMs = 2_000
const minWarmUp = 3_200
const minReadings = 6_400

type Found = Readonly<{
  gpus: number
  /** Milliseconds of each reading in the journal, and with all that hear of it. */
  journal: readonly number[]
  all: readonly number[]
  /** Milliseconds of each turn of a forecast, between which others get theirs. */
  turns: readonly number[]
  /** CPU time of all of it, by simulated time. */
  share: number
}>

export async function readings(say: (line: string) => void): Promise<Report> {
  const found = sizes.map((gpus) => {
    const one = measure(gpus)
    say(
      `${gpus} GPUs: ${micros(median(one.journal))} in the journal, ${micros(median(one.all))} in all`,
    )
    return one
  })
  return {
    how: `nodes of ${gpusPerNode} GPUs, ${waiting.toLocaleString('en')} jobs wait, every GPU generates and reads once in ${everyMs / 1_000} s of simulated time; one thread, no database and no connections`,
    tables: [
      {
        head: [
          'GPUs',
          'a reading in the journal, p50',
          'p99',
          'with estimates, events and metrics, p50',
          'p99',
          'a turn of a forecast, p50',
          'share of a core',
        ],
        rows: found.map(({ gpus, journal, all, turns, share }) => [
          gpus.toLocaleString('en'),
          ...[journal, all].flatMap((took) => [median(took), quantile(took, 0.99)]).map(micros),
          ms(median(turns)),
          `${(100 * share).toFixed(1)} %`,
        ]),
      },
    ],
  }
}

function measure(count: number): Found {
  const world = aWorld(count)
  const warmUpRounds = Math.ceil(minWarmUp / count)
  const rounds = Math.ceil(minReadings / count)
  const journal: number[] = []
  const all: number[] = []
  let before = process.cpuUsage()
  for (let round = 0; round < warmUpRounds + rounds; round++) {
    if (round === warmUpRounds) before = process.cpuUsage()
    for (let gpu = 0; gpu < count; gpu++) {
      const took = world.read(gpu, round)
      if (round < warmUpRounds) continue
      journal.push(took.journal)
      all.push(took.all)
    }
  }
  const { user, system } = process.cpuUsage(before)
  const share = (user + system) / 1_000 / (rounds * everyMs)
  return { gpus: count, journal, all, turns: world.turns, share }
}

/** The queue and those that it tells of each commit, without actors: the time is that of their rules. */
function aWorld(count: number) {
  const gpus = Array.from({ length: count }, (_, gpu) => gpu as GpuId)
  const begin = Date.UTC(2026, 0, 1)
  const turns: number[] = []
  let now = begin
  let isForecastDue = false
  const metrics = createMetrics({
    gpus: gpus.map((id) => ({ id, device: String(id) })),
    ...{ node: soleNode, version: '', task: 'ti2v-5B', maxQueue: waiting },
    ...{ minFreeBytes: 0, log: console as never },
  })
  let [eta] = initialEta({
    kinds: new Map(gpus.map((gpu) => [gpu, undefined])),
    defaults: { usual: { size: '1280x720', frames: 121, steps: 50 }, seconds: () => 540 },
    bootedAt: begin,
  })
  let events = startLog({ keptCharacters: 2_000_000, maxWatchers: 2_000 }, 'bench')
  const { receive, settle } = createJournal({
    settings: settingsFor(gpus.slice(0, gpusPerNode)),
  })
  let [journal] = newJournal
  tell({
    type: 'loaded',
    stored: {
      nextSeq: count + waiting + 1,
      waiting: Array.from({ length: waiting }, (_, index) => aJob(count + index + 1)),
      running: gpus.map((gpu) => running(aJob(gpu + 1), gpu, begin)),
      gpus: new Map(),
      drainedNodes: new Set(),
      lost: [],
      submissions: [],
    },
  })
  for (let from = 0; from < count; from += gpusPerNode) {
    tell({
      type: 'nodeJoined',
      node: from === 0 ? soleNode : (`node-${from}` as NodeName),
      gpus: gpus.slice(from, from + gpusPerNode),
      maxConcurrentLoads,
    })
  }
  for (const gpu of gpus) {
    tell({ type: 'gpuReady', gpu, incarnation: `gpu-${gpu}`, holding: attemptOn(gpu) })
    tell({ type: 'generationStarted', gpu, startedAt: begin, ...attemptOn(gpu) })
  }
  let nextCheckAt = begin
  turns.length = 0

  return {
    turns,
    read(gpu: number, round: number) {
      now = begin + (round + gpu / count) * everyMs
      const from = performance.now()
      const effects = handle({
        type: 'generationReported',
        reading: readingAt(round, now),
        ...{ gpu: gpu as GpuId, ...attemptOn(gpu as GpuId) },
      })
      const handled = performance.now()
      spread(effects)
      if (now >= nextCheckAt) {
        nextCheckAt = now + 1_000
        toEta({ type: 'checkpointsDue' })
        toEvents({ type: 'progressDue' })
      }
      const took = { journal: handled - from, all: performance.now() - from }
      while (isForecastDue) playTurn()
      return took
    },
  }

  function handle(mail: QueueMail): readonly JournalEffect[] {
    const [received, first] = receive(journal, mail, now)
    const [settled, more] = settle(received)
    journal = settled as Journal
    return [...first, ...more]
  }

  /** Every commit succeeds. */
  function tell(mail: QueueMail): void {
    const effects = handle(mail)
    spread(effects)
    if (effects.some((effect) => effect.do === 'commit')) {
      tell({ type: 'written', result: { how: 'committed' } })
    }
  }

  function spread(effects: readonly JournalEffect[]): void {
    for (const effect of effects) {
      if (effect.do === 'observe') metrics.observe(effect.observation)
      else if (effect.do === 'show') toEta({ type: 'queueChanged', queue: effect.queue })
      else if (effect.do === 'tellChanges') {
        const { changes } = effect
        toEvents({ type: 'jobsChanged', changes })
      }
    }
  }

  function toEta(message: Parameters<typeof etaTransition>[1]): void {
    const stopwatch = () => performance.now()
    const [next, effects] = etaTransition(eta, message, { now, stopwatch })
    eta = next
    if (effects.some((effect) => effect.do === 'continueForecast')) isForecastDue = true
  }

  /** Every look is answered at once, and nobody watches. */
  function toEvents(message: Parameters<typeof eventTransition>[1]): void {
    const [next, effects] = eventTransition(events, message)
    events = next
    for (const effect of effects) {
      if (effect.do === 'look')
        toEvents({ type: 'seen', look: effect.number, sights: [], open: [] })
    }
  }

  function playTurn(): void {
    isForecastDue = false
    const from = performance.now()
    toEta({ type: 'forecastDue' })
    turns.push(performance.now() - from)
  }
}

const settingsFor = (gpus: readonly GpuId[]): QueueSettings => ({
  ...{ node: soleNode, gpus },
  ...{ maxAttempts: 2, maxQueue: 1_000_000, maxConcurrentLoads, orphanPolicy: 'adopt' },
  ...{ quarantineAfter: 3, quarantineMs: 60_000, cancelWaitMs: 1_000, jobsPerHour: 0 },
})

const idOf = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}` as JobId

const attemptOn = (gpu: GpuId) => ({ jobId: idOf(gpu + 1), epoch: 1 })

const aJob = (seq: number): Job => ({
  ...{ id: idOf(seq), seq, owner: null, submittedAt: 0, epoch: 0, attempts: 0 },
  request: { prompt: 'a fox', size: '1280x720', frames: 121, steps: 50, seed: 1 },
  state: { status: 'queued' },
})

const running = (job: Job, gpu: GpuId, claimedAt: number): Job => ({
  ...job,
  ...{ epoch: 1, attempts: 1 },
  state: {
    ...{ status: 'running', phase: 'generating', gpu, filename: `${gpu}.mp4`, claimedAt },
    cancelRequested: false,
  },
})

/** Never the last step: all of them go on. */
function readingAt(round: number, now: number): Reading {
  return {
    ...{ stage: 'denoising', step: round, totalSteps: 100_000, source: 'events' },
    ...{ steppedAt: now, secondsPerStep: 2, began: { denoising: now - round * everyMs } },
  }
}

const micros = (milliseconds: number): string => `${(milliseconds * 1_000).toFixed(1)} µs`
