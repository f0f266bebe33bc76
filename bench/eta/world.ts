/** Real rules of the queue and of the estimates, simulated GPUs and time. */
import { createPlace } from '../../src/actors/actor.ts'
import * as eta from '../../src/actors/eta/estimator.ts'
import type { EstimateOutcome, PastAttempt } from '../../src/actors/eta/eta-ports.ts'
import type { Told as Estimated } from '../../src/actors/eta/told.ts'
import type { QueueEffect } from '../../src/actors/queue/queue-effects.ts'
import type { QueueCommand, QueueNews } from '../../src/actors/queue/queue-protocol.ts'
import { restoreQueue } from '../../src/actors/queue/queue-restore.ts'
import type { QueueSettings } from '../../src/actors/queue/queue-state.ts'
import { transition } from '../../src/actors/queue/rules/queue-transition.ts'
import type { Checkpoint } from '../../src/domain/estimate.ts'
import type { GpuId, JobId, Reading } from '../../src/domain/job.ts'
import { soleNode } from '../../src/domain/node.ts'
import { createRandom, type Random } from '../chaos/random.ts'
import { createRivals } from './rivals.ts'
import type { Workload } from './workloads.ts'

/** What one estimator said at one moment of one job, and what became true; seconds. */
export type Answer = Readonly<{
  who: 'ours' | 'plain' | 'tqdm'
  checkpoint: Checkpoint
  /** Each GPU had ten videos by then. */
  isExperienced: boolean
  p10?: number
  told: number
  p90?: number
  actual: number
}>

export type Played = Readonly<{
  answers: readonly Answer[]
  /** Of each running job: the largest move of the promised end, as a share of its time. */
  jumps: readonly number[]
  /** Of each running job: for how long it was said to be there in a second or less. */
  overdue: readonly number[]
  faults: number
}>

const begin = Date.UTC(2026, 0, 1)

/** The share of a cold load that a forked generation still loads. The service assumes another one. */
const warmLoad = 0.11
const client = { name: null, isAdmin: true, address: '127.0.0.1' } as const
const firstClaims = 10

type Told = Omit<Answer, 'actual'> & { jobId: JobId; at: number; spread?: number }

export function play(workload: Workload, seed: number): Played {
  const random = createRandom(seed, workload.name)
  const gpus = Array.from({ length: workload.gpus }, (_, gpu) => gpu as GpuId)
  const agenda = createAgenda()
  let estimator = eta.createEstimator({
    kinds: new Map(gpus.map((gpu) => [gpu, undefined])),
    defaults: { usual: { size: '1280x720', frames: 121, steps: 50 }, seconds: () => 540 },
    bootedAt: begin - 1_000_000,
  })
  const rivals = createRivals(workload.gpus)
  const told: Told[] = []
  const tracks = new Map<JobId, { at: number; end: number; eta: number }[]>()
  const answers: Answer[] = []
  const jumps: number[] = []
  const overdue: number[] = []
  const done = new Map<GpuId, number>()
  let lastLoadAt = Number.NEGATIVE_INFINITY
  let faults = 0
  let state = restoreQueue(settingsFor(workload, gpus), {
    nextSeq: 1,
    waiting: [],
    running: [],
    gpus: new Map(),
    drainedNodes: new Set(),
    lost: [],
    submissions: [],
  })

  for (const gpu of gpus)
    agenda.at(begin, () => tell({ type: 'gpuReady', gpu, incarnation: `gpu-${gpu}.1` }))
  for (let index = 0; index < workload.jobs; index++) {
    agenda.at(begin + workload.arrival(index, random) * 1000, () => submit(index))
  }
  agenda.run()
  return { answers, jumps, overdue, faults }

  function submit(index: number): void {
    const jobId = `00000000-0000-4000-8000-${String(index).padStart(12, '0')}` as JobId
    const request = { ...workload.shape(random), prompt: 'a fox', seed: 1 }
    tell({
      type: 'admit',
      jobId,
      request,
      nameTaken: false,
      client,
      identity: { caller: 'somebody', fingerprint: jobId },
      repetition: { isRetry: false },
      replyTo: createPlace('nobody'),
    })
    ask(jobId, 'submit')
  }

  function tell(message: QueueCommand | QueueNews): void {
    const [next, effects] = transition(state, message, agenda.now)
    state = next
    estimator = eta.see(estimator, state)
    const startsWarm = isWarmNow()
    do {
      const clock = { now: agenda.now, startsWarm, stopwatch: () => performance.now() }
      estimator = eta.goOn(estimator, clock)
    } while (eta.isPlaying(estimator))
    for (const effect of effects) perform(effect)
  }

  function perform(effect: QueueEffect): void {
    switch (effect.do) {
      case 'startGeneration':
        generate(effect.jobId, effect.epoch, effect.gpu)
        break
      case 'convert': {
        const { jobId, epoch } = effect
        const video = { width: 1280, height: 720, frames: 121, durationSeconds: 5, bytes: 1 }
        agenda.in(vary(workload.base.converting, workload.noise.stage), () =>
          tell({ type: 'converted', jobId, epoch, video }),
        )
        break
      }
      case 'tellEta':
        succeeded(effect.attempt)
        break
      default:
    }
  }

  /** Each stage and step is decided beforehand, so that shares of the whole are known. */
  function generate(jobId: JobId, epoch: number, gpu: GpuId): void {
    const job = state.running.get(jobId)
    if (!job) return
    const { base, noise } = workload
    const { frames, steps } = job.shape
    const slow = workload.slowness(gpu, (agenda.now - begin) / 1000)
    const picture = (frames / 121) ** workload.frameExponent
    const start = isWarmNow() ? 'warm' : 'cold'
    const isCold = agenda.now - lastLoadAt > 6 * 3_600_000
    const pace = vary(base.step * picture * slow, noise.pace)
    const share = start === 'warm' ? warmLoad : isCold ? workload.coldFactor : 1
    const loading = vary(base.loading * share, noise.stage)
    const encoding = vary(base.encoding * slow, noise.stage)
    const each = Array.from({ length: steps }, (_, step) =>
      vary(pace * (step === 0 ? 1.5 : 1), noise.step),
    )
    const decoding = vary(base.decoding * picture * slow, noise.stage / 2)
    const saving = vary(base.saving, noise.stage)
    const stops = [loading, encoding, ...each, decoding, saving]
    const length = stops.reduce((sum, seconds) => sum + seconds)
    const failsAt = random.chance(workload.failures)
      ? random.next() * length
      : Number.POSITIVE_INFINITY
    const claimedAt = agenda.now
    const began: Record<string, number> = { loading: claimedAt }
    tell({ type: 'generationStarted', gpu, jobId, epoch, startedAt: claimedAt, start })

    let at = 0
    const recent: number[] = []
    const report = (seconds: number, reading: () => Reading) => {
      at += seconds
      if (at >= failsAt) return
      agenda.at(claimedAt + at * 1000, () =>
        tell({ type: 'generationReported', gpu, jobId, epoch, reading: reading() }),
      )
    }
    const enter = (stage: Reading['stage']): Reading => {
      began[stage] = agenda.now
      return { stage, source: 'events', began: { ...began }, ...lately() }
    }
    const lately = () => {
      const sorted = (recent.length > 1 ? recent.slice(1) : recent)
        .slice(-8)
        .toSorted((a, b) => a - b)
      const middle = sorted[Math.floor(sorted.length / 2)]
      return middle === undefined ? {} : { secondsPerStep: middle }
    }
    report(loading, () => {
      lastLoadAt = agenda.now
      return enter('encoding')
    })
    report(encoding, () => ({ ...enter('denoising'), step: 0, totalSteps: steps }))
    for (const [index, seconds] of each.entries()) {
      report(seconds, () => {
        recent.push(seconds)
        const step = { step: index + 1, totalSteps: steps, steppedAt: agenda.now, ...lately() }
        return index + 1 < steps
          ? { stage: 'denoising', source: 'events', began: { ...began }, ...step }
          : enter('decoding')
      })
    }
    report(decoding, () => enter('saving'))
    const end = Math.min(failsAt, length)
    agenda.at(claimedAt + end * 1000, () =>
      tell({
        type: 'generationEnded',
        jobId,
        epoch,
        result:
          failsAt < length
            ? { how: 'failed', failure: { code: 'out_of_memory', message: 'it failed' } }
            : { how: 'completed' },
      }),
    )
    if (failsAt < length) return
    const whole = length + base.converting
    for (const [checkpoint, share] of [
      ['25', 0.25],
      ['50', 0.5],
      ['75', 0.75],
    ] as const) {
      agenda.at(claimedAt + whole * share * 1000, () => ask(jobId, checkpoint))
    }
    for (let share = 0.02; share < 1; share += 0.02) {
      agenda.at(claimedAt + whole * share * 1000, () => look(jobId))
    }
  }

  function ask(jobId: JobId, checkpoint: Checkpoint): void {
    const now = agenda.now
    const isExperienced = gpus.every((gpu) => (done.get(gpu) ?? 0) >= firstClaims)
    const ours = estimate(jobId)
    if (ours) {
      told.push({
        who: 'ours',
        jobId,
        at: now,
        checkpoint,
        isExperienced,
        p10: ours.p10,
        told: ours.p50,
        p90: ours.p90,
        spread: ours.spread,
      })
    }
    for (const [who, seconds] of Object.entries(rivals.tell(jobId, state, now))) {
      told.push({
        who: who as 'plain' | 'tqdm',
        jobId,
        at: now,
        checkpoint,
        isExperienced,
        told: seconds,
      })
    }
  }

  function estimate(jobId: JobId): Estimated | undefined {
    const [next, told] = eta.estimateJob(estimator, jobId, agenda.now)
    estimator = next
    return told
  }

  function look(jobId: JobId): void {
    const told = estimate(jobId)
    if (!told) return
    if (!(told.p50 > 0 && told.p10 <= told.p50 && told.p50 <= told.p90 && told.p90 < 1e9))
      faults += 1
    const track = tracks.get(jobId) ?? []
    tracks.set(jobId, track)
    track.push({ at: agenda.now, end: told.etaAt, eta: told.p50 })
  }

  function succeeded(attempt: Extract<QueueEffect, { do: 'tellEta' }>['attempt']): void {
    const { jobId, gpu, claimedAt, endedAt } = attempt
    const mine = told.filter((one) => one.jobId === jobId)
    const outcomes: EstimateOutcome[] = []
    for (const { jobId: _, at, spread, ...answer } of mine) {
      const actual = (endedAt - at) / 1000
      if (attempt.attempts === 1) answers.push({ ...answer, actual })
      if (answer.who !== 'ours') continue
      outcomes.push({
        ...{ jobId, gpu, at, actual, checkpoint: answer.checkpoint, source: 'history' },
        ...{ p10: answer.p10 ?? 0, p50: answer.told, p90: answer.p90 ?? 0 },
        spread: spread ?? 0.1,
      })
    }
    for (let index = told.length - 1; index >= 0; index--)
      if (told[index]?.jobId === jobId) told.splice(index, 1)
    const past: PastAttempt = attempt
    estimator = eta.remember(estimator, [past], attempt.attempts === 1 ? outcomes : [])
    rivals.succeeded(attempt)
    done.set(gpu, (done.get(gpu) ?? 0) + 1)
    const track = (tracks.get(jobId) ?? []).filter(({ at }) => at >= claimedAt)
    const moves = track.slice(1).map(({ end }, index) => Math.abs(end - (track[index]?.end ?? end)))
    if (gpus.every((one) => (done.get(one) ?? 0) > firstClaims)) {
      jumps.push(Math.max(0, ...moves) / (endedAt - claimedAt))
      const soon = track.find(({ eta }) => eta <= 1)
      overdue.push(soon ? (endedAt - soon.at) / 1000 : 0)
    }
    tracks.delete(jobId)
  }

  function isWarmNow(): boolean {
    return workload.startsWarm((agenda.now - begin) / 1000)
  }

  function vary(seconds: number, deviation: number): number {
    return seconds * Math.exp(deviation * normal(random))
  }
}

const settingsFor = (workload: Workload, gpus: readonly GpuId[]): QueueSettings => ({
  node: soleNode,
  gpus,
  maxAttempts: 3,
  maxQueue: 100_000,
  jobsPerHour: 0,
  maxConcurrentLoads: workload.maxConcurrentLoads,
  orphanPolicy: 'adopt',
  quarantineAfter: 1_000,
  quarantineMs: 60_000,
  cancelWaitMs: 15_000,
})

function normal(random: Random): number {
  const [a, b] = [random.next(), random.next()]
  return Math.sqrt(-2 * Math.log(1 - a)) * Math.cos(2 * Math.PI * b)
}

/** What happens when, in order; at the same moment in the order of entry. */
function createAgenda() {
  const heap: { at: number; order: number; happen: () => void }[] = []
  let order = 0
  let now = begin
  const before = (a: number, b: number) => {
    const [x, y] = [heap[a], heap[b]]
    return !!x && !!y && (x.at < y.at || (x.at === y.at && x.order < y.order))
  }
  const swap = (a: number, b: number) => {
    const [x, y] = [heap[a], heap[b]]
    if (x && y) [heap[a], heap[b]] = [y, x]
  }
  const at = (when: number, happen: () => void) => {
    heap.push({ at: Math.max(now, when), order: order++, happen })
    for (let child = heap.length - 1; child > 0; ) {
      const parent = (child - 1) >> 1
      if (!before(child, parent)) break
      swap(child, parent)
      child = parent
    }
  }
  const take = () => {
    const first = heap[0]
    const last = heap.pop()
    if (!first || !last || heap.length === 0) return first
    heap[0] = last
    for (let parent = 0; ; ) {
      const [left, right] = [2 * parent + 1, 2 * parent + 2]
      let least = parent
      if (before(left, least)) least = left
      if (before(right, least)) least = right
      if (least === parent) break
      swap(parent, least)
      parent = least
    }
    return first
  }
  return {
    get now() {
      return now
    },
    at,
    in: (seconds: number, happen: () => void) => at(now + seconds * 1000, happen),
    run(): void {
      for (let next = take(); next; next = take()) {
        now = next.at
        next.happen()
      }
    },
  }
}
