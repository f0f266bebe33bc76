/** What a reading of one GPU costs the leader of many: the rules alone, and all that hears of it. */
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
import { soleNode } from '../../src/domain/node.ts'
import { createMetrics } from '../../src/infra/metrics/metrics.ts'
import { ms, quantile, type Report } from './figures.ts'

const sizes = [16, 160, 1_600] as const
const waiting = 100_000
/** Each GPU reads as often. */
const everyMs = 2_000
const warmUpRounds = 5
const minReadings = 3_200

type Found = Readonly<{
  gpus: number
  /** Milliseconds of each reading in the journal, and with all that hear of it. */
  journal: readonly number[]
  all: readonly number[]
  /** Milliseconds of each turn of a forecast, between which others get theirs. */
  turns: readonly number[]
}>

export async function readings(say: (line: string) => void): Promise<Report> {
  const found = sizes.map((gpus) => {
    const one = measure(gpus)
    say(
      `${gpus} GPUs: ${micros(mean(one.journal))} in the journal, ${micros(mean(one.all))} in all`,
    )
    return one
  })
  return {
    how: `${waiting.toLocaleString('en')} jobs wait, every GPU generates and reads once in ${everyMs / 1_000} s of simulated time; one thread, no database and no connections`,
    tables: [
      {
        head: [
          'GPUs',
          'a reading in the journal',
          'p99',
          'with estimates, events and metrics',
          'p99',
          'a turn of a forecast, p99',
          'share of a core',
        ],
        rows: found.map(({ gpus, journal, all, turns }) => [
          gpus.toLocaleString('en'),
          ...[mean(journal), quantile(journal, 0.99), mean(all), quantile(all, 0.99)].map(micros),
          ms(quantile(turns, 0.99)),
          `${((100 * (sum(all) + sum(turns)) * gpus) / (all.length * everyMs)).toFixed(1)} %`,
        ]),
      },
    ],
  }
}

function measure(count: number): Found {
  const world = aWorld(count)
  const rounds = Math.max(warmUpRounds, Math.ceil(minReadings / count))
  const journal: number[] = []
  const all: number[] = []
  for (let round = 0; round < warmUpRounds + rounds; round++) {
    for (let gpu = 0; gpu < count; gpu++) {
      const took = world.read(gpu, round)
      if (round < warmUpRounds) continue
      journal.push(took.journal)
      all.push(took.all)
    }
  }
  return { gpus: count, journal, all, turns: world.turns }
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
    ...{ childOf: (gpu) => `gpu-${gpu}`, version: '', task: 'ti2v-5B', maxQueue: waiting },
    ...{ minFreeBytes: 0, log: console as never },
  })
  let [eta] = initialEta({
    kinds: new Map(gpus.map((gpu) => [gpu, undefined])),
    defaults: { usual: { size: '1280x720', frames: 121, steps: 50 }, seconds: () => 540 },
    bootedAt: begin,
  })
  let events = startLog({ keptCharacters: 2_000_000, maxWatchers: 2_000 }, 'bench')
  const { receive, settle } = createJournal({ settings: settingsFor(gpus), gpus })
  let [journal] = newJournal
  tell({
    type: 'loaded',
    stored: {
      nextSeq: count + waiting + 1,
      waiting: Array.from({ length: waiting }, (_, index) => aJob(count + index + 1)),
      running: gpus.map((gpu) => running(aJob(gpu + 1), gpu, begin)),
      gpus: new Map(),
      lost: [],
      submissions: [],
    },
  })
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
        events = eventTransition(events, { type: 'progressDue' })[0]
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
        events = eventTransition(events, { type: 'jobsChanged', changes })[0]
      }
    }
  }

  function toEta(message: Parameters<typeof etaTransition>[1]): void {
    const stopwatch = () => performance.now()
    const [next, effects] = etaTransition(eta, message, { now, stopwatch })
    eta = next
    if (effects.some((effect) => effect.do === 'continueForecast')) isForecastDue = true
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
  ...{ maxAttempts: 2, maxQueue: 1_000_000, maxConcurrentLoads: 8, orphanPolicy: 'adopt' },
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

const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0)

const mean = (values: readonly number[]): number => sum(values) / values.length

const micros = (milliseconds: number): string => `${(milliseconds * 1_000).toFixed(1)} µs`
