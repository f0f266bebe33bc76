import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Clock,
  createEstimator,
  type Estimator,
  estimateJob,
  estimateNext,
  goOn,
  isPlaying,
  remember,
  see,
} from '../../../src/actors/eta/estimator.ts'
import type { PastAttempt } from '../../../src/actors/eta/eta-ports.ts'
import { values } from '../../../src/actors/ordered-map.ts'
import type { QueueState } from '../../../src/actors/queue/queue-state.ts'
import { transition } from '../../../src/actors/queue/rules/queue-transition.ts'
import { type RunningJob, RunningJobs } from '../../../src/actors/queue/running-jobs.ts'
import {
  type GpuHealth,
  type GpuId,
  type JobId,
  type Reading,
  stages,
} from '../../../src/domain/job.ts'
import { anAttempt, aPast, aQueue, aTraced, hour, speeds } from '../../support/eta.ts'
import {
  aQueuedJob,
  aRequest,
  aRunningJob,
  gpu0,
  gpu1,
  gpu2,
  gpuId,
  jobId,
  midnight,
} from '../../support/jobs.ts'
import { withHome } from '../../support/nodes.ts'

const seconds = fc.double({ min: 0.01, max: 1e6, noNaN: true })

describe('an estimate of a waiting job', () => {
  it('is for the default and some seconds of conversion before there is any history', () => {
    const [estimate] = told([], aQueue({ waiting: 1, ready: [gpu0] }))
    expect(estimate).toMatchObject({ source: 'default', progress: 0 })
    expect(estimate?.p50).toBeCloseTo(545)
  })

  it('plays the queue forward over free GPUs, fast and slow', () => {
    const past = aPast([gpu0, 100], [gpu1, 300])
    const queue = aQueue({ waiting: 6, ready: [gpu0, gpu1], gpus: [gpu0, gpu1] })
    expect(etas(past, queue)).toEqual([100, 300, 200, 300, 400, 600])
  })

  it('waits for GPUs that are at work', () => {
    const past = aPast([gpu0, 100], [gpu1, 300])
    const running = [aRunningJob(8), aRunningJob(9, { gpu: gpu1 })]
    const queue = aQueue({ waiting: 2, ready: [gpu0, gpu1], gpus: [gpu0, gpu1], running })
    const [first = 0, second = 0] = etas(past, queue, midnight + 5_000)
    expect(first).toBeCloseTo(195, -1)
    expect(second).toBeCloseTo(295, -1)
  })

  it('does not wait for a conversion, but has its own to come', () => {
    const past = aPast([gpu0, 100, 20])
    const converting = aRunningJob(9, { phase: 'converting', generatedAt: midnight })
    const queue = aQueue({ waiting: 2, ready: [gpu0], gpus: [gpu0], running: [converting] })
    expect(etas(past, queue)).toEqual([120, 220])
  })

  it('goes by what each job is: fewer steps ahead of it, sooner its turn', () => {
    const past = aPast([gpu0, 100])
    const wait = (steps: number) => {
      const jobs = [{ ...aQueuedJob(1), request: aRequest({ steps }) }, aQueuedJob(2)]
      return etas(past, aQueue({ jobs, ready: [gpu0], gpus: [gpu0] }))[1] ?? Number.NaN
    }
    expect(wait(25)).toBeLessThan(wait(50))
  })

  it('is that of a warm start while generations are forked from a template', () => {
    const past = [...aPastOf('cold', gpu0, 80), ...aPastOf('warm', gpu0, 10)]
    const queue = aQueue({ waiting: 2, ready: [gpu0], gpus: [gpu0] })
    const [cold, warm] = [false, true].map((startsWarm) => {
      const estimator = playOn(see(remember(createEstimator(speeds()), past), queue), midnight, {
        startsWarm,
      })
      return [1, 2].map((n) => Math.round(estimateOf(estimator, jobId(n), midnight)?.p50 ?? 0))
    })
    expect(cold).toEqual([180, 360])
    expect(warm).toEqual([110, 220])
  })

  it('changes as soon as there is a template, and when there is none any more', () => {
    const past = [...aPastOf('cold', gpu0, 80), ...aPastOf('warm', gpu0, 10)]
    const queue = aQueue({ waiting: 1, ready: [gpu0], gpus: [gpu0] })
    let estimator = see(remember(createEstimator(speeds()), past), queue)
    const seen = [false, true, true, false].map((startsWarm, second) => {
      const at = midnight + second
      estimator = playOn(estimator, at, { startsWarm })
      return Math.round(estimateOf(estimator, jobId(1), at)?.p50 ?? 0)
    })
    expect(seen).toEqual([180, 110, 110, 180])
  })

  it.each<[string, GpuHealth | undefined, expected: number[]]>([
    ['in order', undefined, [100, 100, 200]],
    ['drained', { drained: true, failures: [] }, [100, 200, 300]],
    ['in quarantine for good', inQuarantine(), [100, 200, 300]],
    ['in quarantine until 00:02:30', inQuarantine(150), [100, 200, 250]],
  ])('knows which GPUs get jobs, and when: the other is %s', (_, health, expected) => {
    const gpuHealth = new Map(health ? [[gpu1, health]] : [])
    const queue = { ...aQueue({ waiting: 3, ready: [gpu0, gpu1], gpus: [gpu0, gpu1] }), gpuHealth }
    expect(etas(aPast([gpu0, 100], [gpu1, 100]), queue)).toEqual(expected)
  })

  it('counts on no GPU that was given up, and soon on one that is being started', () => {
    const past = aPast([gpu0, 100], [gpu1, 100])
    const queue = aQueue({ waiting: 2, ready: [gpu0], gpus: [gpu0, gpu1] })
    expect(etas(past, queue)).toEqual([100, 102])
    expect(etas(past, { ...queue, givenUpGpus: new Set([gpu1]) })).toEqual([100, 200])
  })

  it('is not made when no GPU may ever be given it, or nothing is begun for want of room', () => {
    const queue = aQueue({ waiting: 1, ready: [gpu0], gpus: [gpu0] })
    expect(told([], { ...queue, givenUpGpus: new Set([gpu0]) })).toEqual([undefined])
    expect(told([], withHome(queue, { hasRoom: false }))).toEqual([undefined])
  })

  it('knows that only so many may load at once', () => {
    const past = [0, 1].flatMap((gpu) =>
      Array.from({ length: 5 }, (_, n) => aTraced(gpuId(gpu), n, { encoding: 60 }, 100, 100)),
    )
    const queue = aQueue({ waiting: 2, ready: [gpu0, gpu1], gpus: [gpu0, gpu1] })
    expect(etas(past, withHome(queue, { maxConcurrentLoads: 1 }))).toEqual([100, 160])
  })

  it('comes true when every GPU takes the time it always takes', () => {
    // No sum of some of these equals a sum of others: which GPU is free first is never a matter of luck.
    const known = fc.shuffledSubarray(
      [2, 3, 5, 7].map((n) => 100 * Math.sqrt(n)),
      { minLength: 1 },
    )
    fc.assert(
      fc.property(known, fc.integer({ min: 1, max: 30 }), (known, jobs) => {
        const gpus = known.map((_, index) => gpuId(index))
        const past = aPast(...gpus.map((gpu, index) => [gpu, known[index] ?? 0] as const))
        const queue = aQueue({ waiting: jobs, ready: gpus, gpus })
        const truth = playOut(queue, new Map(gpus.map((gpu, index) => [gpu, known[index] ?? 0])))
        for (const [index, estimate] of told(past, queue).entries()) {
          expect(estimate?.p50).toBeCloseTo(truth.get(jobId(index + 1)) ?? Number.NaN, 1)
        }
      }),
    )
  })

  it('is surer the nearer it is', () => {
    const past = aPast([gpu0, 100], [gpu0, 110], [gpu0, 95])
    const all = told(past, aQueue({ waiting: 10, ready: [gpu0], gpus: [gpu0] }))
    const [first, last] = [all[0], all.at(-1)].map((one) => (one ? one.p90 - one.p10 : 0))
    expect(last).toBeGreaterThan(first ?? 0)
  })
})

describe('an estimate of a running job that still loads', () => {
  const past = [...aPastOf('cold', gpu0, 80), ...aPastOf('warm', gpu0, 10)]
  /** It is not stored with the job, but observed. */
  const aQueueOf = ({ start, startedAt }: Pick<RunningJob, 'start' | 'startedAt'>): QueueState => {
    const job = aRunningJob(1, startedAt === undefined ? {} : { startedAt })
    const queue = aQueue({ running: [job], ready: [gpu0], gpus: [gpu0] })
    const running = [...queue.running.values()].map((job) => ({ ...job, ...(start && { start }) }))
    return { ...queue, running: RunningJobs.of(running) }
  }
  const estimatorOf = (queue: QueueState, startsWarm: boolean, at = midnight) =>
    playOn(see(remember(createEstimator(speeds()), past), queue), at, { startsWarm })

  it.each<[what: string, Pick<RunningJob, 'start' | 'startedAt'>, startsWarm: boolean, number]>([
    ['was started warm, though there is no template any more', { start: 'warm' }, false, 110],
    ['was started cold, though there is a template now', { start: 'cold' }, true, 180],
    ['is being started, and there is a template', {}, true, 110],
    ['is being started, and there is none', {}, false, 180],
    ['was started by an earlier version', { startedAt: midnight }, true, 180],
  ])('goes by how it %s', (_what, job, startsWarm, expected) => {
    const estimator = estimatorOf(aQueueOf(job), startsWarm)
    expect(estimateOf(estimator, jobId(1), midnight)?.p50).toBeCloseTo(expected, 0)
  })

  it('learns how it was started, and never takes back its progress', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('warm', 'cold'),
        fc.boolean(),
        fc.integer({ min: 0, max: 60_000 }),
        (start, startsWarm, seenMs) => {
          const at = midnight + seenMs
          const [seen, before] = estimateJob(
            estimatorOf(aQueueOf({}), startsWarm, at),
            jobId(1),
            at,
          )
          const [, after] = estimateJob(see(seen, aQueueOf({ start })), jobId(1), at)
          expect(after?.progress).toBeGreaterThanOrEqual(before?.progress ?? 1)
          if (seenMs === 0) expect(after?.p50).toBeCloseTo(start === 'warm' ? 110 : 180, 0)
        },
      ),
    )
  })
})

describe('an estimate of a job that is not submitted yet', () => {
  const next = (past: readonly PastAttempt[], queue: QueueState | undefined, at = midnight) => {
    const estimator = remember(createEstimator(speeds()), past)
    return estimateNext(queue ? playOn(see(estimator, queue), at) : estimator, at)[1]
  }

  it('is the one that it gets once it is submitted, for every length of the queue', () => {
    const past = aPast([gpu0, 100], [gpu1, 300])
    const gpus = { ready: [gpu0, gpu1], gpus: [gpu0, gpu1] }
    const withJobs = (waiting: number) => aQueue({ waiting, ...gpus })
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 40 }), (waiting) => {
        const { position, estimate } = next(past, withJobs(waiting)) ?? {}
        expect(position).toBe(waiting + 1)
        expect(estimate?.p50).toBeCloseTo(told(past, withJobs(waiting + 1)).at(-1)?.p50 ?? 0, 5)
      }),
    )
  })

  it('waits for what runs', () => {
    const queue = aQueue({ ready: [gpu0], gpus: [gpu0], running: [aRunningJob(8)] })
    expect(next(aPast([gpu0, 100]), queue, midnight + 5_000)).toMatchObject({ position: 1 })
    expect(next(aPast([gpu0, 100]), queue, midnight + 5_000)?.estimate?.p50).toBeCloseTo(195, -1)
  })

  it('names the place alone when no GPU takes jobs, or the disk is full', () => {
    const queue = aQueue({ waiting: 3, ready: [gpu0], gpus: [gpu0] })
    const drained = new Map([[gpu0, { drained: true, failures: [] }]])
    expect(next([], { ...queue, gpuHealth: drained })).toEqual({ position: 4 })
    expect(next([], withHome(queue, { hasRoom: false }))).toEqual({ position: 4 })
  })

  it('is unknown before the queue is', () => {
    expect(next([], undefined)).toBeUndefined()
  })
})

describe('any estimate', () => {
  it('is some time, with its middle in its interval, whatever was heard', () => {
    const time = fc.integer({ min: midnight - 1e9, max: midnight + 1e9 })
    const state = fc.record({
      gpu: fc.constantFrom(gpu0, gpu1, gpu2),
      phase: fc.constantFrom('generating' as const, 'converting' as const),
      ...{ claimedAt: time, generatedAt: time },
    })
    const reading = fc.record(
      {
        stage: fc.constantFrom(...stages.slice(0, -1)),
        ...{ step: fc.nat(60), totalSteps: fc.nat(50), steppedAt: time },
        secondsPerStep: fc.double({ min: 0, max: 1e6, noNaN: true }),
        source: fc.constantFrom('events', 'log'),
        began: fc.record({ denoising: time, decoding: time }, { requiredKeys: [] }),
      },
      { requiredKeys: ['stage'] },
    )
    const durations = fc.tuple(fc.constantFrom(gpu0, gpu1, gpu2), seconds, seconds)
    fc.assert(
      fc.property(
        fc.array(durations, { maxLength: 60 }),
        fc.array(fc.tuple(state, fc.option(reading)), { maxLength: 3 }),
        fc.array(time, { minLength: 1, maxLength: 4 }),
        (attempts, runs, times) => {
          const running = runs.map(([state], index) => aRunningJob(100 + index, state))
          const restored = aQueue({ waiting: 5, running, ready: [gpu0, gpu1] })
          const heard = [...restored.running.values()].map((job, index) => {
            const reading = runs[index]?.[1]
            return reading ? ({ ...job, reading } as RunningJob) : job
          })
          const past = remember(createEstimator(speeds()), aPast(...attempts))
          let estimator = see(past, { ...restored, running: RunningJobs.of(heard) })
          for (const at of times) {
            estimator = turn(estimator, at)
            for (const id of [1, 5, ...running.map((_, index) => 100 + index)].map(jobId)) {
              const [next, estimate] = estimateJob(estimator, id, at)
              estimator = next
              const { p10 = -1, p50 = -1, p90 = -1, progress = -1 } = estimate ?? {}
              expect(p10).toBeGreaterThan(0)
              expect(p50).toBeGreaterThanOrEqual(p10)
              expect(p90).toBeGreaterThanOrEqual(p50)
              expect(p90 / p50).toBeLessThan(13)
              expect(progress).toBeGreaterThanOrEqual(0)
              expect(progress).toBeLessThan(1)
            }
          }
        },
      ),
    )
  })

  it('says what it rests on', () => {
    const source = (reading?: Reading, past = aPast([gpu0, 100])) => {
      const queue = aQueue({ running: [aRunningJob(1)] })
      const [job] = queue.running.values()
      if (!job) throw new Error('the job runs')
      const running = RunningJobs.of([reading ? { ...job, reading } : job])
      return told(past, { ...queue, running }, midnight, [1])[0]?.source
    }
    expect(source()).toBe('history')
    expect(source(undefined, [])).toBe('default')
    expect(source({ stage: 'loading', source: 'log' })).toBe('log')
    expect(source({ stage: 'loading', source: 'events' })).toBe('events')
  })

  it('is not made of a job that is neither waiting nor running', () => {
    expect(told([], aQueue({ waiting: 1, ready: [gpu0] }), midnight, [5])).toEqual([undefined])
  })

  it('goes on where it was when the service is started again', () => {
    const past = Array.from({ length: 30 }, (_, n) => anAttempt(gpu0, n, 500 + n))
    const claimedAt = midnight + 40 * hour
    const reading: Reading = {
      ...{ stage: 'denoising', step: 20, totalSteps: 50, secondsPerStep: 8 },
      ...{ steppedAt: claimedAt + 200_000, began: { denoising: claimedAt + 40_000 } },
    }
    const restored = aQueue({ running: [aRunningJob(1, { claimedAt })] })
    const [job] = restored.running.values()
    if (!job) throw new Error('the job runs')
    const queue = { ...restored, running: RunningJobs.of([{ ...job, reading }]) }
    const now = claimedAt + 201_000
    const before = see(remember(createEstimator(speeds()), past), queue)
    const first = estimateOf(before, job.jobId, now)
    // Meanwhile others have ended, which took much longer.
    const more = Array.from({ length: 5 }, (_, n) => anAttempt(gpu0, 140 + n / 60, 5_000))
    const after = see(remember(createEstimator(speeds()), [...past, ...more]), queue)
    expect(estimateOf(after, job.jobId, now)?.progress).toBe(first?.progress)
  })
})

describe('a forecast', () => {
  it('costs a poll no more when the queue is long: it is read, not played again', () => {
    const queue = aQueue({ waiting: 5_000, ready: [gpu0], gpus: [gpu0] })
    let steps = 0
    const counted = { ...queue, waiting: countingTree(queue.waiting, () => steps++) }
    let estimator = playOn(see(createEstimator(speeds()), counted))
    expect(steps).toBeGreaterThanOrEqual(5_000)
    steps = 0
    for (let poll = 0; poll < 100; poll++) {
      ;[estimator] = estimateJob(estimator, jobId(5_000), midnight + poll)
    }
    expect(steps).toBeLessThan(100 * 40)
  })

  it('takes in new jobs at the end without playing the others again', () => {
    const waiting = (jobs: number) => aQueue({ waiting: jobs, ready: [gpu0], gpus: [gpu0] })
    const played = playOn(see(createEstimator(speeds()), waiting(2_000)))
    const longer = waiting(2_001)
    let steps = 0
    const counted = { ...longer, waiting: countingTree(longer.waiting, () => steps++) }
    expect(estimateOf(see(played, counted), jobId(2_001), midnight + 1)?.p50).toBeGreaterThan(0)
    expect(steps).toBeLessThan(100)
  })

  it('of a long queue is made anew in turns, and read as it was meanwhile', () => {
    const queue = aQueue({ waiting: 3_500, ready: [gpu0, gpu1], gpus: [gpu0, gpu1] })
    const played = playOn(see(createEstimator(speeds()), queue))
    const before = estimateOf(played, jobId(3_500), midnight)?.p50 ?? 0
    let estimator = see(played, { ...queue, givenUpGpus: new Set([gpu1]) })
    const later = midnight + 60_000
    expect(estimateOf(estimator, jobId(3_500), later)?.p50).toBeLessThan(before)
    let turns = 0
    for (estimator = turn(estimator, later); isPlaying(estimator); turns++) {
      expect(estimateOf(estimator, jobId(3_500), later)?.p50).toBeLessThan(before)
      estimator = turn(estimator, later)
    }
    expect(turns).toBeGreaterThan(1)
    expect(estimateOf(estimator, jobId(3_500), later)?.p50).toBeCloseTo(2 * before, -4)
  })
})

function inQuarantine(untilSecond?: number): GpuHealth {
  const until = untilSecond === undefined ? {} : { until: midnight + untilSecond * 1000 }
  const quarantine = { reason: 'failures', since: midnight, strikes: 1, probing: false } as const
  return { drained: false, failures: [], quarantine: { ...quarantine, ...until } }
}

/** Each loaded so long, and took 100 s more. */
const aPastOf = (start: 'warm' | 'cold', gpu: GpuId, loading: number): PastAttempt[] =>
  Array.from({ length: 8 }, (_, n) => ({
    ...anAttempt(gpu, 98 + n / 10, loading + 100, { loading }),
    start,
  }))

function told(past: readonly PastAttempt[], queue: QueueState, at = midnight, ns?: number[]) {
  const estimator = playOn(see(remember(createEstimator(speeds()), past), queue), at)
  const ids = ns?.map(jobId) ?? [...values(queue.waiting)].map((job) => job.jobId)
  return ids.map((id) => estimateOf(estimator, id, at))
}

/** With the whole forecast played. */
function playOn(estimator: Estimator, at = midnight, more: Partial<Clock> = {}): Estimator {
  const next = turn(estimator, at, more)
  return isPlaying(next) ? playOn(next, at, more) : next
}

const turn = (estimator: Estimator, now: number, more: Partial<Clock> = {}) =>
  goOn(estimator, { now, stopwatch: () => 0, ...more })

const estimateOf = (estimator: Estimator, id: JobId, at: number) =>
  estimateJob(estimator, id, at)[1]

const etas = (past: readonly PastAttempt[], queue: QueueState, at = midnight) =>
  told(past, queue, at).map((estimate) => Math.round(estimate?.p50 ?? Number.NaN))

type Tree = {
  key: number
  value: unknown
  size: number
  left: Tree | undefined
  right: Tree | undefined
}

/** The same map, which says whenever somebody looks at one of its nodes' values or keys. */
function countingTree<T>(tree: T, onLook: () => void): T {
  const copy = (node: Tree | undefined): Tree | undefined =>
    node && {
      ...{ size: node.size, left: copy(node.left), right: copy(node.right) },
      get key() {
        onLook()
        return node.key
      },
      get value() {
        onLook()
        return node.value
      },
    }
  return copy(tree as Tree | undefined) as T
}

/** When each job's generation ends, by the rules of the queue itself: seconds from midnight. */
function playOut(
  queue: QueueState,
  speeds: ReadonlyMap<GpuId, number>,
): ReadonlyMap<JobId, number> {
  const ends = new Map<JobId, number>()
  const secondsOf = (job: RunningJob) => speeds.get(job.gpu) ?? 0
  let state: QueueState = {
    ...queue,
    settings: { ...queue.settings, maxConcurrentLoads: 1_000 },
  }
  const hear = (message: Parameters<typeof transition>[1], at: number) => {
    ;[state] = transition(state, message, at)
  }
  hear({ type: 'speedsLearned', secondsPerJob: speeds }, 0)
  // All of them were there before: now the jobs are given out.
  hear({ type: 'gpuReady', gpu: gpu0, incarnation: 'the next' }, 0)
  for (;;) {
    const generating = [...state.running.values()].filter(({ phase }) => phase === 'generating')
    const [next] = generating.toSorted(
      (a, b) => a.claimedAt + secondsOf(a) - (b.claimedAt + secondsOf(b)),
    )
    if (!next) return ends
    const end = next.claimedAt + secondsOf(next)
    ends.set(next.jobId, end)
    const { jobId, epoch } = next
    hear({ type: 'generationEnded', result: { how: 'completed' }, jobId, epoch }, end)
  }
}
