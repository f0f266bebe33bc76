import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { ask, tell } from '../src/actors/actor.ts'
import {
  createForecast,
  estimateOf,
  historyLength,
  remember,
  secondsPerJob,
} from '../src/actors/eta/estimate.ts'
import { etaBehaviour } from '../src/actors/eta/eta-actor.ts'
import type { EtaState } from '../src/actors/eta/eta-protocol.ts'
import type { PastAttempt } from '../src/actors/ports.ts'
import { values } from '../src/actors/queue/ordered-map.ts'
import type {
  QueueMessage,
  QueueSnapshot,
  QueueState,
  RunningJob,
} from '../src/actors/queue/queue-protocol.ts'
import { restoreQueue } from '../src/actors/queue/queue-state.ts'
import { transition } from '../src/actors/queue/queue-transition.ts'
import { type GpuId, type Job, type JobId, type Reading, stages } from '../src/job.ts'
import {
  anActor,
  aQueuedJob,
  aRunningJob,
  gpu0,
  gpu1,
  gpu2,
  gpuId,
  jobId,
  midnight,
  queueSettings,
} from './support/jobs.ts'
import { createProbe } from './support/probe.ts'

const nothing: EtaState['past'] = new Map()

describe('an estimate of a waiting job', () => {
  it('goes by DEFAULT_JOB_S before there is any history, and some seconds for conversion', () => {
    const queue = aQueue({ waiting: 1, ready: [gpu0] })
    expect(estimate(1, queue)).toEqual({ etaSeconds: Math.ceil(545 * 1.05), progress: 0 })
  })

  it('plays the queue forward over free GPUs, fast and slow', () => {
    const past = aPast([gpu0, 100], [gpu1, 300])
    const queue = aQueue({ waiting: 6, ready: [gpu0, gpu1] })
    expect(etas(queue, past)).toEqual([105, 315, 210, 315, 420, 630])
  })

  it('waits for GPUs that are at work', () => {
    const past = aPast([gpu0, 100], [gpu1, 300])
    const queue = aQueue({
      waiting: 4,
      ready: [gpu0, gpu1],
      running: [aRunningJob(8), aRunningJob(9, { gpu: gpu1 })],
    })
    expect(etas(queue, past, midnight + 40_000)).toEqual([168, 273, 378, 588])
  })

  it('does not wait for a conversion, but has its own to come', () => {
    const past = aPast([gpu0, 100, 20])
    const converting = aRunningJob(9, { phase: 'converting', generatedAt: midnight })
    const queue = aQueue({ waiting: 2, ready: [gpu0], running: [converting] })
    expect(etas(queue, past)).toEqual([126, 231])
  })

  it('counts on a GPU that takes longer than usual to be free any moment', () => {
    const past = aPast([gpu0, 100])
    const queue = aQueue({ waiting: 1, ready: [gpu0], running: [aRunningJob(9)] })
    expect(etas(queue, past, midnight + 400_000)).toEqual([105])
  })

  it('takes a GPU without a history for one like the others', () => {
    const past = aPast([gpu0, 100], [gpu1, 300])
    const queue = aQueue({ waiting: 1, ready: [gpu2] })
    expect(etas(queue, past)).toEqual([210])
  })

  it('counts on no GPU that is not there, and on none that is no longer ours', () => {
    const former = gpuId(7)
    const past = aPast([gpu0, 100], [gpu1, 100], [former, 100])
    const running = [aRunningJob(9, { gpu: former })]
    const queue = aQueue({ waiting: 3, ready: [gpu0, former], running })
    expect(etas(queue, past)).toEqual([105, 210, 315])
  })

  it('is not made when no GPU is there at all', () => {
    expect(estimate(1, aQueue({ waiting: 1, ready: [] }))).toBeUndefined()
  })

  it('comes nearer as time goes by', () => {
    const past = aPast([gpu0, 100])
    const queue = aQueue({ waiting: 1, ready: [gpu0] })
    const forecast = createForecast({ past, defaultSeconds: 540 }, queue, midnight)
    const after = (elapsed: number) => estimateOf(jobId(1), queue, forecast, elapsed)?.etaSeconds
    expect([0, 40, 100, 500].map(after)).toEqual([105, 63, 0, 0])
  })

  it('comes true when every GPU takes the time it always takes', () => {
    // No sum of some of these equals a sum of others: which GPU is free first is never a matter of luck.
    const speeds = fc.shuffledSubarray(
      [2, 3, 5, 7].map((n) => 100 * Math.sqrt(n)),
      { minLength: 1 },
    )
    fc.assert(
      fc.property(speeds, fc.integer({ min: 1, max: 30 }), (speeds, jobs) => {
        const gpus = speeds.map((_, index) => gpuId(index))
        const past = aPast(...gpus.map((gpu, index) => [gpu, speeds[index] ?? 0] as const))
        const queue = aQueue({ waiting: jobs, ready: gpus, gpus })
        const forecast = createForecast({ past, defaultSeconds: 540 }, queue, midnight)
        const truth = playOut(queue, past)
        for (let position = 1; position <= jobs; position++) {
          expect(forecast.queued(position)).toBeCloseTo(truth.get(jobId(position)) ?? Number.NaN, 3)
        }
      }),
    )
  })
})

describe('an estimate of a running job', () => {
  const past = aPast([gpu0, 100, 20])

  it.each([
    [0, 126],
    [40, 84],
    [100, 21],
    [5_000, 21],
  ])('%i s after its claim is what is left of the usual: %i s', (seconds, eta) => {
    const queue = aQueue({ running: [aRunningJob(1)] })
    expect(estimate(1, queue, past, midnight + seconds * 1000)?.etaSeconds).toBe(eta)
    const forecast = createForecast({ past, defaultSeconds: 540 }, queue, midnight)
    expect(estimateOf(jobId(1), queue, forecast, seconds)?.etaSeconds).toBe(eta)
  })

  it.each([
    [0, 21],
    [15, 6],
    [90, 0],
  ])('%i s after its generation is what is left of the usual conversion: %i s', (seconds, eta) => {
    const converting = aRunningJob(1, { phase: 'converting', generatedAt: midnight + 1_000 })
    const queue = aQueue({ running: [converting] })
    const at = midnight + 1_000 + seconds * 1000
    expect(estimate(1, queue, past, at)?.etaSeconds).toBe(eta)
  })

  it('goes by the history of its own GPU', () => {
    const queue = aQueue({ running: [aRunningJob(1), aRunningJob(2, { gpu: gpu1 })] })
    const past = aPast([gpu0, 100], [gpu1, 300])
    expect(estimate(1, queue, past)?.etaSeconds).toBe(105)
    expect(estimate(2, queue, past)?.etaSeconds).toBe(315)
  })

  it('is not made of a job that is neither waiting nor running', () => {
    expect(estimate(5, aQueue({ waiting: 1, ready: [gpu0] }))).toBeUndefined()
  })
})

describe('any estimate', () => {
  const seconds = fc.double({ min: 0, max: 1e6, noNaN: true })
  const attempt = fc.record({
    gpu: fc.constantFrom(gpu0, gpu1, gpu2),
    generationSeconds: seconds,
    conversionSeconds: seconds,
  })
  const time = fc.integer({ min: midnight - 1e9, max: midnight + 1e9 })
  const running = fc.record({
    gpu: fc.constantFrom(gpu0, gpu1, gpu2),
    phase: fc.constantFrom('generating' as const, 'converting' as const),
    claimedAt: time,
    generatedAt: time,
  })
  const reading = fc.record(
    { stage: fc.constantFrom(...stages), step: fc.nat(60), totalSteps: fc.nat(50) },
    { requiredKeys: ['stage'] },
  )

  it('is a whole number of seconds, never negative, with progress from 0 to below 1', () => {
    fc.assert(
      fc.property(
        fc.array(attempt, { maxLength: 60, size: 'max' }),
        fc.array(fc.tuple(running, fc.option(reading)), { maxLength: 3 }),
        time,
        seconds,
        (attempts, runs, at, elapsed) => {
          const jobs = runs.map(([state], index) => aRunningJob(100 + index, state))
          const restored = aQueue({ waiting: 5, running: jobs, ready: [gpu0, gpu1] })
          const heard = [...restored.running.values()].map((job, index) => {
            const reading = runs[index]?.[1]
            return [job.jobId, reading ? ({ ...job, reading } as RunningJob) : job] as const
          })
          const queue = { ...restored, running: new Map(heard) }
          const past = attempts.reduce(remember, nothing)
          const forecast = createForecast({ past, defaultSeconds: 540 }, queue, at)
          for (const n of [1, 2, 3, 4, 5, ...jobs.map((_, index) => 100 + index)]) {
            const { etaSeconds, progress } = estimateOf(jobId(n), queue, forecast, elapsed) ?? {}
            expect(etaSeconds).toSatisfy(Number.isSafeInteger)
            expect(etaSeconds).toBeGreaterThanOrEqual(0)
            expect(progress).toBeGreaterThanOrEqual(0)
            expect(progress).toBeLessThan(1)
          }
        },
      ),
    )
  })
})

describe('progress', () => {
  const progressAt = (reading: Reading | undefined, phase: 'generating' | 'converting') => {
    const queue = aQueue({ running: [aRunningJob(1, { phase })] })
    const [job] = queue.running.values()
    if (!job) throw new Error('the job runs')
    const heard = {
      ...queue,
      running: new Map([[job.jobId, { ...job, ...(reading && { reading }) }]]),
    }
    return estimate(1, heard)?.progress ?? Number.NaN
  }

  it('never goes back on the way through the stages, and is done only at the end', () => {
    const steps = Array.from({ length: 51 }, (_, step) => step)
    const way = [
      progressAt(undefined, 'generating'),
      progressAt({ stage: 'loading' }, 'generating'),
      progressAt({ stage: 'encoding' }, 'generating'),
      progressAt({ stage: 'denoising' }, 'generating'),
      ...steps.map((step) =>
        progressAt({ stage: 'denoising', step, totalSteps: 50 }, 'generating'),
      ),
      progressAt({ stage: 'decoding' }, 'generating'),
      progressAt({ stage: 'saving' }, 'generating'),
      progressAt(undefined, 'converting'),
    ]
    expect(way).toEqual(way.toSorted((a, b) => a - b))
    expect(way[0]).toBe(0)
    expect(new Set(way).size).toBeGreaterThan(50)
    expect(way.at(-1)).toBeLessThan(1)
  })

  it('does not run ahead when there are more steps than expected', () => {
    const beyond = progressAt({ stage: 'denoising', step: 99, totalSteps: 50 }, 'generating')
    expect(beyond).toBe(progressAt({ stage: 'decoding' }, 'generating'))
  })
})

describe('history', () => {
  it(`is the average of the last ${historyLength} attempts of each GPU`, () => {
    const slow = Array.from({ length: 30 }, () => aPastAttempt(gpu0, 1_000))
    const fast = Array.from({ length: historyLength - 10 }, () => aPastAttempt(gpu0, 100))
    const other = aPastAttempt(gpu1, 77)
    const past = [...slow, other, ...fast].reduce(remember, nothing)
    expect(secondsPerJob(past)).toEqual(
      new Map([
        [gpu0, (10 * 1_000 + (historyLength - 10) * 100) / historyLength],
        [gpu1, 77],
      ]),
    )
  })

  it('is not known of a GPU without one', () => {
    expect(secondsPerJob(nothing)).toEqual(new Map())
  })
})

describe('the actor of the estimates', () => {
  it('asks to see the queue, and tells it what it has learned from the record', async () => {
    const { queue } = anEtaActor({ history: [aPastAttempt(gpu0, 100), aPastAttempt(gpu0, 300)] })
    expect(await queue.next()).toEqual({ type: 'etaReady' })
    expect(await queue.next()).toEqual({
      type: 'speedsLearned',
      secondsPerJob: new Map([[gpu0, 200]]),
    })
  })

  it('estimates nothing before it has seen the queue', async () => {
    const { estimates } = anEtaActor()
    expect(await estimates(1)).toEqual(new Map())
  })

  it('estimates what it is asked for and can be estimated', async () => {
    const { actor, estimates } = anEtaActor()
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ waiting: 2, ready: [gpu0] }) })
    expect([...(await estimates(1, 2, 5)).keys()]).toEqual([jobId(1), jobId(2)])
  })

  it('learns from every success', async () => {
    const { actor, queue, estimates } = anEtaActor({ history: [aPastAttempt(gpu0, 100)] })
    await queue.next()
    await queue.next()
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ waiting: 1, ready: [gpu0] }) })
    expect((await estimates(1)).get(jobId(1))?.etaSeconds).toBe(105)
    tell(actor.ref, { type: 'attemptSucceeded', ...aPastAttempt(gpu0, 300) })
    expect((await estimates(1)).get(jobId(1))?.etaSeconds).toBe(210)
    expect(await queue.next()).toEqual({
      type: 'speedsLearned',
      secondsPerJob: new Map([[gpu0, 200]]),
    })
  })

  it('estimates without a history that cannot be read', async () => {
    const error = vi.fn()
    const { actor, estimates } = anEtaActor({ history: new Error('no disk'), error })
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ waiting: 1, ready: [gpu0] }) })
    expect((await estimates(1)).get(jobId(1))?.etaSeconds).toBe(Math.ceil(545 * 1.05))
    await expect.poll(() => error.mock.calls.length).toBe(1)
  })

  it('plays the queue forward once for all who ask, until something changes', async () => {
    const { actor, queue, estimates } = anEtaActor()
    await queue.next()
    await queue.next()
    const running = new CountingMap(aQueue({ running: [aRunningJob(9)] }).running)
    const before = { ...aQueue({ waiting: 1, ready: [gpu0] }), running }
    tell(actor.ref, { type: 'queueChanged', queue: before })
    for (let poll = 0; poll < 5; poll++) expect((await estimates(1, 9)).size).toBe(2)
    expect(running.plays).toBe(1)

    const { waiting, seqOf } = aQueue({ waiting: 3 })
    tell(actor.ref, { type: 'queueChanged', queue: { ...before, waiting, seqOf } })
    expect((await estimates(1, 2, 3, 9)).size).toBe(4)
    expect(running.plays).toBe(1)

    const changed = new CountingMap(running)
    tell(actor.ref, { type: 'queueChanged', queue: { ...before, running: changed } })
    await estimates(1)
    await estimates(1)
    expect(changed.plays).toBe(1)
    tell(actor.ref, { type: 'attemptSucceeded', ...aPastAttempt(gpu0, 300) })
    await estimates(1)
    expect(changed.plays).toBe(2)
  })
})

/** Counts how often somebody goes through all of it. */
class CountingMap extends Map<JobId, RunningJob> {
  plays = 0
  override values() {
    this.plays += 1
    return super.values()
  }
}

function anEtaActor({
  history = [],
  error = () => {},
}: {
  history?: PastAttempt[] | Error
  error?: (fields: object, phrase: string) => void
} = {}) {
  const queue = createProbe<QueueMessage>('queue')
  const recent = async () => {
    if (history instanceof Error) throw history
    return history
  }
  const quiet = () => {}
  const actor = anActor(
    'eta',
    etaBehaviour({
      history: { recent },
      queue: queue.ref,
      defaultSeconds: 540,
      log: { debug: quiet, info: quiet, warn: quiet, error },
    }),
  )
  return {
    actor,
    queue,
    estimates: (...ns: number[]) => ask(actor.ref, { type: 'estimate', jobIds: ns.map(jobId) }),
  }
}

/** Jobs 1 to `waiting` wait. */
function aQueue({
  waiting = 0,
  running = [],
  ready = [],
  gpus = [gpu0, gpu1, gpu2],
}: {
  waiting?: number
  running?: Job[]
  ready?: GpuId[]
  gpus?: GpuId[]
}): QueueState {
  const jobs = Array.from({ length: waiting }, (_, index) => aQueuedJob(index + 1))
  const restored = restoreQueue(
    { ...queueSettings, gpus },
    { nextSeq: waiting + 1, waiting: jobs, running, gpus: new Map(), submissions: [] },
  )
  return { ...restored, readyGpus: new Map(ready.map((gpu) => [gpu, `gpu-${gpu}.1`])) }
}

const aPastAttempt = (gpu: GpuId, generationSeconds: number, conversionSeconds = 0) => ({
  gpu,
  generationSeconds,
  conversionSeconds,
})

/** One attempt each: how long the generation took, and the conversion. */
function aPast(...attempts: (readonly [GpuId, number, number?])[]): EtaState['past'] {
  return attempts.map((attempt) => aPastAttempt(...attempt)).reduce(remember, nothing)
}

function estimate(
  n: number,
  queue: QueueSnapshot,
  past: EtaState['past'] = nothing,
  at = midnight,
) {
  return estimateOf(jobId(n), queue, createForecast({ past, defaultSeconds: 540 }, queue, at), 0)
}

const etas = (queue: QueueState, past: EtaState['past'], at = midnight) =>
  [...values(queue.waiting)].map(({ seq }) => estimate(seq, queue, past, at)?.etaSeconds)

/** When each job's generation ends, by the rules of the queue itself: seconds from midnight. */
function playOut(queue: QueueState, past: EtaState['past']): ReadonlyMap<JobId, number> {
  const speeds = secondsPerJob(past)
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
