/** The queue's rules while the clock is set: the same story must have the same outcome without it. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createPlace } from '../../../../src/actors/actor.ts'
import type { QueueEffect } from '../../../../src/actors/queue/queue-effects.ts'
import type {
  QueueCommand,
  QueueNews,
  SubmitAnswer,
} from '../../../../src/actors/queue/queue-protocol.ts'
import { restoreQueue } from '../../../../src/actors/queue/queue-restore.ts'
import { transition } from '../../../../src/actors/queue/rules/queue-transition.ts'
import { RefusalError } from '../../../../src/domain/errors.ts'
import type { GpuHealth } from '../../../../src/domain/job.ts'
import { anybody, aRequest, gpu0, jobId, midnight, queueSettings } from '../../../support/jobs.ts'

const minute = 60_000
const day = 24 * 60 * minute
const submitter = createPlace<SubmitAnswer>('submitter')

const aStory = fc.array(
  fc.record({
    waitsMs: fc.integer({ min: 0, max: 40 * minute }),
    setByMs: fc.oneof(fc.constant(0), fc.integer({ min: -30 * day, max: 30 * day })),
    key: fc.constantFrom('a', 'b', undefined),
    isRetry: fc.boolean(),
  }),
  { minLength: 1, maxLength: 12 },
)

describe('a clock that is set while the queue runs', () => {
  it('changes no quota, and makes no second job of a request that is repeated', () => {
    fc.assert(
      fc.property(aStory, (story) => {
        const still = story.map((one) => ({ ...one, setByMs: 0 }))
        expect(answersTo(story)).toEqual(answersTo(still))
      }),
    )
  })

  it('is not used to say how long requests are remembered', () => {
    const queue = aQueue()
    queue.sets(9 * day)
    const effects = queue.submits(1, { key: 'a', isRetry: false })
    expect(effects).toContainEqual(
      expect.objectContaining({
        operation: expect.objectContaining({
          op: 'remember',
          at: midnight,
          keepSince: midnight - day,
        }),
      }),
    )
  })
})

describe('a quarantine that is found at a start', () => {
  const found = (until: number, strikes = 1): GpuHealth => ({
    drained: false,
    failures: [],
    quarantine: { reason: 'failures', since: until - minute, until, strikes, probing: false },
  })

  it('lasts no longer than when it began, whatever the clock says', () => {
    const bounds = fc.integer({ min: -4_000 * day, max: 4_000 * day })
    fc.assert(
      fc.property(bounds, fc.integer({ min: 1, max: 40 }), (untilIn, strikes) => {
        const queue = aQueue(new Map([[gpu0, found(midnight + untilIn, strikes)]]))
        const effects = queue.tell({ type: 'gpuReady', gpu: gpu0, incarnation: 'gpu-0.1' })
        const longest = Math.min(60 * minute, minute * 2 ** (strikes - 1))
        const probe = effects.find((effect) => effect.do === 'expectProbe')
        expect(probe?.withinMs).toBe(Math.max(0, Math.min(untilIn, longest)))
        const { until = 0 } = queue.state().gpuHealth.get(gpu0)?.quarantine ?? {}
        expect(until).toBeLessThanOrEqual(midnight + longest)
      }),
    )
  })

  it('ends by its timer, also when its actor comes back after the clock was set', () => {
    const queue = aQueue(new Map([[gpu0, found(midnight + minute)]]))
    const ready = (life: number) =>
      queue.tell({ type: 'gpuReady', gpu: gpu0, incarnation: `gpu-0.${life}` })
    expect(ready(1)).toMatchObject([{ do: 'expectProbe', withinMs: minute }])
    for (const [life, days] of [9, -20, 400].entries()) {
      queue.sets(days * day)
      expect(ready(life + 2)).toEqual([])
    }
  })

  it('is stored when it was shortened, so that its end is shown as it will be', () => {
    const queue = aQueue(new Map([[gpu0, found(midnight + 10 * day)]]))
    expect(queue.tell({ type: 'gpuReady', gpu: gpu0, incarnation: 'gpu-0.1' })).toContainEqual({
      do: 'store',
      operation: {
        op: 'setGpuHealth',
        gpu: gpu0,
        health: expect.objectContaining({
          quarantine: expect.objectContaining({ until: midnight + minute }),
        }),
      },
    })
  })
})

/** What each submission of a story was answered. */
function answersTo(story: readonly Scene[]): unknown[] {
  const queue = aQueue()
  return story.map(({ waitsMs, setByMs, key, isRetry }, n) => {
    queue.waits(waitsMs)
    queue.sets(setByMs)
    const effects = queue.submits(n + 1, { isRetry, ...(key !== undefined && { key }) })
    return effects.flatMap((effect): unknown[] => {
      if (effect.do === 'findRepeated') return [`the job ${effect.jobId}`]
      if (effect.do !== 'answer') return []
      const { value } = effect
      if (value instanceof RefusalError) return [value.code, value.message]
      return [(value as { quota?: object }).quota]
    })
  })
}

type Scene = Readonly<{
  waitsMs: number
  setByMs: number
  key: string | undefined
  isRetry: boolean
}>

function aQueue(gpus: ReadonlyMap<typeof gpu0, GpuHealth> = new Map()) {
  let state = restoreQueue(
    { ...queueSettings, gpus: [gpu0], jobsPerHour: 3, quarantineMs: minute },
    {
      nextSeq: 1,
      waiting: [],
      running: [],
      gpus,
      drainedNodes: new Set(),
      lost: [],
      submissions: [],
    },
  )
  let at = midnight
  let steady = midnight

  function tell(message: QueueCommand | QueueNews): readonly QueueEffect[] {
    const [next, effects] = transition(state, message, at, steady)
    state = next
    return effects
  }

  return {
    tell,
    state: () => state,
    waits(ms: number) {
      at += ms
      steady += ms
    },
    sets(byMs: number) {
      at += byMs
    },
    submits: (n: number, repetition: { key?: string; isRetry: boolean }) =>
      tell({
        type: 'admit',
        jobId: jobId(n),
        request: aRequest(),
        client: anybody,
        identity: {
          caller: 'somebody',
          fingerprint: 'same',
          ...(repetition.key !== undefined && { key: repetition.key }),
        },
        repetition,
        nameTaken: false,
        replyTo: submitter,
      }),
  }
}
