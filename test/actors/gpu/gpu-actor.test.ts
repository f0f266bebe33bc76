import { afterEach, describe, expect, it, vi } from 'vitest'
import { tell } from '../../../src/actors/actor.ts'
import { gpuBehaviour } from '../../../src/actors/gpu/gpu-actor.ts'
import type { AttemptOrder, GenerationResult } from '../../../src/actors/gpu/gpu-ports.ts'
import type { GpuMessage, GpuState } from '../../../src/actors/gpu/gpu-protocol.ts'
import { idle, transition } from '../../../src/actors/gpu/gpu-transition.ts'
import type { QueueMessage } from '../../../src/actors/queue/queue-protocol.ts'
import type { Reading } from '../../../src/domain/job.ts'
import { createFakeRunner, type FakeGeneration } from '../../support/fake-runner.ts'
import { aFailure, anActor, aRequest, gpu1, jobId, midnight } from '../../support/jobs.ts'
import { createProbe } from '../../support/probe.ts'

const attempt = { jobId: jobId(1), epoch: 3 }
const order: AttemptOrder = { ...attempt, request: aRequest() }
const otherJob: AttemptOrder = { ...order, jobId: jobId(2) }
const otherEpoch: AttemptOrder = { ...order, epoch: 2 }

const busy: GpuState = { phase: 'busy', held: attempt }
const stopping: GpuState = { phase: 'stopping', held: attempt, reason: 'canceled' }
const reading: Reading = { stage: 'denoising', step: 4, totalSteps: 50 }
const ready = { do: 'report', report: { type: 'gpuReady' } } as const

describe('a GPU', () => {
  it.each([
    ['run', 'start'],
    ['adopt', 'adopt'],
  ] as const)('told to %s while it is idle does %s the generation', (type, does) => {
    expect(transition(idle, { type, order })).toEqual([busy, [{ do: does, order }]])
  })

  it.each(['run', 'adopt'] as const)('told to %s what it is at already goes on', (type) => {
    for (const state of [busy, stopping]) {
      expect(transition(state, { type, order })).toEqual([state, []])
    }
  })

  it.each(['run', 'adopt'] as const)('told to %s something else declines', (type) => {
    for (const state of [busy, stopping]) {
      for (const other of [otherJob, otherEpoch]) {
        const { jobId, epoch } = other
        expect(transition(state, { type, order: other })).toEqual([
          state,
          [{ do: 'report', report: { type: 'runDeclined', jobId, epoch } }],
        ])
      }
    }
  })

  it.each(['canceled', 'timeout', 'orphaned'] as const)(
    'stops its generation when told so, because it is %s',
    (reason) => {
      expect(transition(busy, { type: 'stopGeneration', reason, ...attempt })).toEqual([
        { phase: 'stopping', held: attempt, reason },
        [{ do: 'stop', reason }],
      ])
    },
  )

  it('stops its generation when its time is up', () => {
    expect(transition(busy, { type: 'timeLimitReached', ...attempt })).toEqual([
      { phase: 'stopping', held: attempt, reason: 'timeout' },
      [{ do: 'stop', reason: 'timeout' }],
    ])
  })

  it('stops once, and for the first reason', () => {
    for (const message of [
      { type: 'stopGeneration', reason: 'orphaned', ...attempt },
      { type: 'timeLimitReached', ...attempt },
    ] as const) {
      expect(transition(stopping, message)).toEqual([stopping, []])
    }
  })

  it('passes on when its generation began, and has its time limited from then', () => {
    const start = { startedAt: midnight, command: ['python3', 'generate.py'] }
    const news = { type: 'generationStarted', ...start, ...attempt } as const
    expect(transition(busy, { ...news, ageMs: 7 })).toEqual([
      { phase: 'busy', held: { ...attempt, ...start } },
      [
        { do: 'report', report: news },
        { do: 'limitTime', attempt, ageMs: 7 },
      ],
    ])
  })

  it('passes on how far its generation is, even while it is to stop', () => {
    const news = { type: 'generationReported', reading, ...attempt } as const
    for (const state of [busy, stopping]) {
      expect(transition(state, news)).toEqual([
        { ...state, held: { ...attempt, reading } },
        [{ do: 'report', report: news }],
      ])
    }
  })

  it.each<GenerationResult>([
    { how: 'completed' },
    { how: 'failed', failure: aFailure() },
    { how: 'neverBegan' },
    { how: 'lost' },
  ])('is ready for more when its generation has ended ($how)', (result) => {
    const news = { type: 'generationEnded', result, ...attempt } as const
    for (const state of [busy, stopping]) {
      expect(transition(state, news)).toEqual([idle, [{ do: 'report', report: news }, ready]])
    }
  })

  it('reports processes that survive SIGKILL before it is ready, also when the queue does not know the attempt', () => {
    const news = { type: 'generationEnded', result: { how: 'unkillable' }, ...attempt } as const
    const [, effects] = transition(stopping, news)
    expect(effects).toEqual([
      { do: 'report', report: { type: 'processesLeft' } },
      { do: 'report', report: news },
      ready,
    ])
  })

  it.each<GpuMessage>([
    { type: 'stopGeneration', reason: 'canceled', ...attempt },
    { type: 'timeLimitReached', ...attempt },
    { type: 'generationStarted', startedAt: midnight, ageMs: 0, ...attempt },
    { type: 'generationReported', reading, ...attempt },
    { type: 'generationEnded', result: { how: 'completed' }, ...attempt },
  ])('takes no notice of $type about an attempt it is not at', (message) => {
    expect(transition(idle, message)).toEqual([idle, []])
    for (const { jobId, epoch } of [otherJob, otherEpoch]) {
      const state: GpuState = { phase: 'busy', held: { jobId, epoch } }
      expect(transition(state, message)).toEqual([state, []])
    }
  })

  it('announces itself ready when it is idle', () => {
    expect(transition(idle, { type: 'announce' })).toEqual([idle, [ready]])
  })

  it('announces what it is at, and all it has heard of it', () => {
    const start = { startedAt: midnight, command: ['python3', 'generate.py'] }
    const held = { ...attempt, ...start, reading }
    for (const state of [
      { phase: 'busy', held },
      { ...stopping, held },
    ] as const) {
      const [next, effects] = transition(state, { type: 'announce' })
      expect(next).toBe(state)
      expect(effects).toEqual(
        [
          { type: 'gpuReady', holding: attempt },
          { type: 'generationStarted', ...attempt, ...start },
          { type: 'generationReported', ...attempt, reading },
        ].map((report) => ({ do: 'report', report })),
      )
    }
  })

  it('announces no more than it has heard', () => {
    expect(transition(busy, { type: 'announce' })[1]).toEqual([
      { do: 'report', report: { type: 'gpuReady', holding: attempt } },
    ])
  })
})

describe('the actor of a GPU', () => {
  afterEach(() => void vi.useRealTimers())

  it('tells the queue who it is as soon as it is there', async () => {
    const { queue } = aGpuActor()
    expect(await queue.next()).toEqual({ type: 'gpuReady', gpu: gpu1, incarnation: 'gpu-1.7' })
  })

  it.each([
    ['run', 'started'],
    ['adopt', 'adopted'],
  ] as const)('told to %s has the generation %s and tells the queue of it', async (type, began) => {
    const { queue, isTold } = aGpuActor()
    const generation = await isTold({ type, order })
    expect(generation).toMatchObject({ began, order })

    generation.observer.started(midnight, 0, ['python3', 'generate.py'], 'warm')
    generation.observer.reported(reading)
    generation.observer.ended({ how: 'completed' })
    expect([
      await queue.next(),
      await queue.next(),
      await queue.next(),
      await queue.next(),
    ]).toEqual([
      {
        type: 'generationStarted',
        gpu: gpu1,
        startedAt: midnight,
        command: ['python3', 'generate.py'],
        start: 'warm',
        ...attempt,
      },
      { type: 'generationReported', gpu: gpu1, reading, ...attempt },
      { type: 'generationEnded', result: { how: 'completed' }, ...attempt },
      { type: 'gpuReady', gpu: gpu1, incarnation: 'gpu-1.7' },
    ])
  })

  it('has a generation stopped with the grace it was given', async () => {
    const { actor, announces, isTold } = aGpuActor({ graceMs: 321 })
    const { stops } = await isTold({ type: 'run', order })
    tell(actor.ref, { type: 'stopGeneration', reason: 'canceled', ...attempt })
    await announces()
    expect(stops).toEqual([{ reason: 'canceled', graceMs: 321 }])
  })

  it('has a generation stopped when its time is up, and not a moment sooner', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
    const { announces, isTold } = aGpuActor({ jobTimeoutMs: 60_000 })
    const { observer, stops } = await isTold({ type: 'run', order })
    observer.started(midnight, 10_000)
    await announces()

    vi.advanceTimersByTime(49_999)
    await announces()
    expect(stops).toEqual([])
    vi.advanceTimersByTime(1)
    await announces()
    expect(stops).toEqual([{ reason: 'timeout', graceMs: 5_000 }])
  })

  it('stops an adopted generation at once when its time was up before', async () => {
    const { isTold } = aGpuActor({ jobTimeoutMs: 60_000 })
    const { observer, stops } = await isTold({ type: 'adopt', order })
    observer.started(Date.now(), 60_001)
    await expect.poll(() => stops).toEqual([{ reason: 'timeout', graceMs: 5_000 }])
  })

  it.each([9, -30, -4_000])(
    'counts the time of an adopted generation by its age, with a clock set by %d days',
    async (days) => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
      const { announces, isTold } = aGpuActor({ jobTimeoutMs: 60_000 })
      const { observer, stops } = await isTold({ type: 'adopt', order })
      observer.started(Date.now() - days * 24 * 60 * 60_000, 10_000)
      await announces()
      vi.advanceTimersByTime(49_999)
      await announces()
      expect(stops).toEqual([])
      vi.advanceTimersByTime(1)
      await announces()
      expect(stops).toEqual([{ reason: 'timeout', graceMs: 5_000 }])
    },
  )

  it('does not stop the next generation when the time of the last is up', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
    const { announces, generations, isTold } = aGpuActor({ jobTimeoutMs: 60_000 })
    const { observer } = await isTold({ type: 'run', order })
    observer.started(Date.now(), 0)
    observer.ended({ how: 'completed' })
    await isTold({ type: 'run', order: otherJob })
    vi.advanceTimersByTime(60_000)
    await announces()
    expect(generations.map(({ stops }) => stops)).toEqual([[], []])
  })

  it.each<[how: string, end: (actor: ReturnType<typeof aGpuActor>['actor']) => void]>([
    ['stopped', (actor) => actor.stop()],
    ['killed', (actor) => actor.kill()],
    ['broken by a message', (actor) => tell(actor.ref, { type: 'run' } as never)],
  ])('leaves its generation running when it is %s', async (_how, end) => {
    const { actor, isTold } = aGpuActor()
    const generation = await isTold({ type: 'run', order })
    end(actor)
    await expect.poll(() => generation.isDetached()).toBe(true)
    expect(generation.stops).toEqual([])
    expect(tell(actor.ref, { type: 'announce' })).toBe(false)
  })
})

function aGpuActor({ graceMs = 5_000, jobTimeoutMs = 7_200_000 } = {}) {
  const queue = createProbe<QueueMessage>('queue')
  const { runner, generations } = createFakeRunner()
  const options = { gpu: gpu1, runner, queue: queue.ref, graceMs, jobTimeoutMs }
  const actor = anActor('gpu-1.7', gpuBehaviour(options))

  return {
    actor,
    queue,
    generations,
    announces,
    /** The generation it is at once it has been told this. */
    async isTold(message: GpuMessage): Promise<FakeGeneration> {
      tell(actor.ref, message)
      await announces()
      const generation = generations.at(-1)
      if (!generation) throw new Error('no generation began')
      return generation
    },
  }

  /** By then it has read all that it was told before. */
  async function announces(): Promise<void> {
    tell(actor.ref, { type: 'announce' })
    for (;;) {
      const news = await queue.next()
      if (news.type === 'gpuReady' && news.holding) return
    }
  }
}
