import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { ask, tell } from '../../../src/actors/actor.ts'
import { etaBehaviour } from '../../../src/actors/eta/eta-actor.ts'
import type { EstimateOutcome, PastAttempt } from '../../../src/actors/eta/eta-ports.ts'
import { get } from '../../../src/actors/ordered-map.ts'
import type { QueueMessage } from '../../../src/actors/queue/queue-protocol.ts'
import type { QueueState } from '../../../src/actors/queue/queue-state.ts'
import type { ToldEstimate } from '../../../src/domain/estimate.ts'
import { aFinished, anAttempt, anOutcome, aQueue, speeds, withReading } from '../../support/eta.ts'
import { anActor, aQueuedJob, aRunningJob, gpu0, gpu1, gpu2, jobId } from '../../support/jobs.ts'
import { createProbe } from '../../support/probe.ts'

describe('the actor of the estimates', () => {
  it('asks to see the queue, and tells it what it has learned from the record', async () => {
    const { queue } = anEtaActor({ past: [anAttempt(gpu0, 0, 100), anAttempt(gpu1, 0, 300)] })
    expect(await queue.next()).toEqual({ type: 'etaReady' })
    const learned = await queue.next()
    if (learned.type !== 'speedsLearned') throw new Error(learned.type)
    expect([...learned.secondsPerJob].map(([gpu, time]) => [gpu, Math.round(time)])).toEqual([
      [gpu0, 100],
      [gpu1, 300],
      [gpu2, Math.round(Math.sqrt(100 * 300))],
    ])
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
    const { actor, queue, estimates } = anEtaActor({ past: [anAttempt(gpu0, 0, 100)] })
    await queue.next()
    await queue.next()
    const gpus = [gpu0]
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ waiting: 1, ready: gpus, gpus }) })
    expect((await estimates(1)).get(jobId(1))?.p50).toBeCloseTo(100, 0)
    tell(actor.ref, { type: 'attemptSucceeded', attempt: aFinished(9, 400) })
    expect((await queue.next()).type).toBe('speedsLearned')
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ waiting: 1, ready: gpus, gpus }) })
    await expect.poll(async () => (await estimates(1)).get(jobId(1))?.p50).toBeGreaterThan(150)
  })

  it('estimates without a history that cannot be read', async () => {
    const error = vi.fn()
    const { actor, estimates } = anEtaActor({ past: new Error('no disk'), error })
    const gpus = [gpu0]
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ waiting: 1, ready: gpus, gpus }) })
    expect((await estimates(1)).get(jobId(1))?.p50).toBeCloseTo(545, 0)
    await expect.poll(() => error.mock.calls.length).toBe(1)
  })

  it('keeps what it told of new jobs, and of running ones when they get to a checkpoint', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const { actor, kept } = anEtaActor({ past: [anAttempt(gpu0, 0, 100)] })
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ waiting: 1, ready: [gpu0] }) })
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ waiting: 2, ready: [gpu0] }) })
    // That of job 1 was told by somebody before us.
    await expect.poll(eachSecond(kept)).toEqual([[jobId(2), 'submit']])
    const claimedAt = Date.now() - 55_000
    const running = [aRunningJob(2, { claimedAt })]
    const steps = { stage: 'denoising', step: 30, totalSteps: 50, steppedAt: Date.now() } as const
    tell(actor.ref, { type: 'queueChanged', queue: withReading(aQueue({ running }), steps) })
    await expect.poll(eachSecond(kept)).toEqual([
      [jobId(2), 'submit'],
      [jobId(2), '50'],
    ])
  })

  it('keeps nothing of a second attempt, which nobody could foresee', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const { actor, kept } = anEtaActor({ past: [anAttempt(gpu0, 0, 100)] })
    const running = [aRunningJob(1, { claimedAt: Date.now() - 90_000 }, { epoch: 2, attempts: 2 })]
    const queue = withReading(aQueue({ running }), { stage: 'saving' })
    tell(actor.ref, { type: 'queueChanged', queue })
    tell(actor.ref, { type: 'queueChanged', queue: { ...queue, ...newJob(queue, 2) } })
    await expect.poll(eachSecond(kept)).toEqual([[jobId(2), 'submit']])
  })

  it('does not mind a store that keeps nothing', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const { actor, estimates, warn } = anEtaActor({ record: new Error('disk full') })
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ ready: [gpu0] }) })
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ waiting: 1, ready: [gpu0] }) })
    await expect.poll(eachSecond(() => warn.mock.calls.length)).toBe(1)
    expect((await estimates(1)).size).toBe(1)
  })

  it('writes the estimates of the last second when it stops', async () => {
    const { actor, kept } = anEtaActor()
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ ready: [gpu0] }) })
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ waiting: 1, ready: [gpu0] }) })
    actor.stop()
    await expect.poll(kept).toEqual([[jobId(1), 'submit']])
  })

  it('logs a failure of that last write', async () => {
    const { actor, warn } = anEtaActor({ record: new Error('disk full') })
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ ready: [gpu0] }) })
    tell(actor.ref, { type: 'queueChanged', queue: aQueue({ waiting: 1, ready: [gpu0] }) })
    actor.stop()
    await expect.poll(() => warn.mock.calls.length).toBe(1)
  })

  it('tells how true its estimates have been', async () => {
    const { actor } = anEtaActor({ outcomes: [anOutcome(1, { actual: 110 })] })
    const { jobs, checkpoints } = await ask(actor.ref, { type: 'reviewEstimates' })
    expect(jobs).toBe(1)
    expect(checkpoints['50']?.meanErrorPercent).toBeCloseTo(100 / 11)
  })
})

/** Reads a value a second later each time: the actor writes once a second. */
function eachSecond<Value>(read: () => Value): () => Value {
  return () => {
    vi.advanceTimersByTime(1_000)
    return read()
  }
}

function anEtaActor({
  past = [],
  outcomes = [],
  record,
  error = () => {},
}: {
  past?: PastAttempt[] | Error
  outcomes?: EstimateOutcome[]
  record?: Error
  error?: (fields: object, phrase: string) => void
} = {}) {
  const queue = createProbe<QueueMessage>('queue')
  const recorded: ToldEstimate[] = []
  const quiet = () => {}
  const warn = vi.fn()
  const history = {
    recent: async () => {
      if (past instanceof Error) throw past
      return past
    },
    outcomes: async () => outcomes,
    record: async (estimates: readonly ToldEstimate[]) => {
      if (record) throw record
      recorded.push(...estimates)
    },
  }
  const log = { debug: quiet, info: quiet, warn, error }
  const actor = anActor(
    'eta',
    etaBehaviour({
      ...{ history, queue: queue.ref, speeds: speeds(), startsWarm: () => false },
      observe: () => {},
      log,
    }),
  )
  return {
    actor,
    queue,
    warn,
    kept: () => recorded.map(({ jobId, checkpoint }) => [jobId, checkpoint]),
    estimates: (...ns: number[]) => ask(actor.ref, { type: 'estimate', jobIds: ns.map(jobId) }),
  }
}

function newJob(queue: QueueState, n: number): Pick<QueueState, 'waiting' | 'seqOf'> {
  const { waiting, seqOf } = aQueue({ jobs: [aQueuedJob(n)] })
  if (get(queue.seqOf, jobId(n))) throw new Error('it is there already')
  return { waiting, seqOf }
}
