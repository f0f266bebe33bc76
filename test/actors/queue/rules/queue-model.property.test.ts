/**
 * The queue's rules against a world in which anything may happen in any order: fast-check makes up
 * the stories, the world (support/queue-world.ts) watches that what must be so stays so.
 *
 * `QUEUE_MODEL_RUNS` sets the number of stories.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { QueueEffect } from '../../../../src/actors/queue/queue-effects.ts'
import type { QueueOperation } from '../../../../src/actors/queue/queue-ports.ts'
import type { QueueNews } from '../../../../src/actors/queue/queue-protocol.ts'
import { restoreQueue } from '../../../../src/actors/queue/queue-restore.ts'
import {
  noneRecent,
  type QueueSettings,
  type QueueState,
} from '../../../../src/actors/queue/queue-state.ts'
import { transition } from '../../../../src/actors/queue/rules/queue-transition.ts'
import { RunningJobs } from '../../../../src/actors/queue/running-jobs.ts'
import type { FailureCode } from '../../../../src/domain/job.ts'
import { aFailure, queueSettings } from '../../../support/jobs.ts'
import { homeOf, withHome } from '../../../support/nodes.ts'
import { oftenIn } from '../../../support/often.ts'
import { allGpus, createWorld, type Rules, type World } from '../../../support/queue-world.ts'

const runs = Number(process.env.QUEUE_MODEL_RUNS ?? 300)
const seed = 20_260_101

const rules: Rules = { transition, restoreQueue }

type May = Parameters<Parameters<World['let']>[0]>[0]
const often = oftenIn<May, World>()

const ours = fc.subarray(allGpus, { minLength: 1 })
const failure = fc.constantFrom<FailureCode>(
  'out_of_memory',
  'gpu_error',
  'timeout',
  'disk_full',
  'checkpoint_missing',
)
const spoiled = fc.constantFrom<FailureCode>('truncated_output', 'no_output')
const which = fc.nat(20)
const name = fc.constantFrom('fox.mp4', 'FOX.mp4', 'owl.mp4', 'été.mp4', 'ÉTÉ.mp4')
const key = fc.constantFrom('one', 'two', 'three', 'four', 'five', 'six')
const fingerprint = fc.constantFrom('a', 'b')
const result = fc.oneof(
  { weight: 3, arbitrary: fc.constant({ how: 'completed' } as const) },
  failure.map((code) => ({ how: 'failed', failure: aFailure(code) }) as const),
  fc.constant({ how: 'lost' } as const),
)
const unheard = fc.constantFrom('nothing', 'a generation', 'a conversion')
const numbers = fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 3 })
const speeds = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 3, maxLength: 3 })
const status = fc.subarray(['queued', 'running'] as const)

/** What may happen, the ordinary more often than the rest. */
const commands = [
  ...often(
    30,
    'a job is submitted',
    fc.option(name, { nil: undefined, freq: 2 }),
    (may, filename) => may.submit({ filename }),
  ),
  ...often(
    10,
    'a job is submitted with a key',
    fc.tuple(key, fingerprint),
    (may, [key, fingerprint]) => may.submit({ key, fingerprint }),
  ),
  ...often(20, 'a GPU starts', which, (may, which) => may.startGpu(which)),
  ...often(60, 'a GPU reads an order', which, (may, which) => may.readOrder(which)),
  ...often(60, 'a generation goes on', which, (may, which) => may.progress(which)),
  ...often(24, 'a generation ends', fc.tuple(which, result), (may, end) =>
    may.endGeneration(...end),
  ),
  ...often(24, 'a conversion is done', which, (may, which) => may.endConversion(which)),
  ...often(6, 'a conversion fails', fc.tuple(which, spoiled), (may, end) =>
    may.endConversion(...end),
  ),
  ...often(8, 'jobs are canceled', numbers, (may, numbers) => may.cancel(numbers)),
  ...often(1, 'jobs are canceled by status', status, (may, status) => may.cancel({ status })),
  ...often(12, 'a pause ends', which, (may, which) => may.endPause(which)),
  ...often(3, 'a load is overdue', which, (may, which) => may.loadOverdue(which)),
  ...often(4, 'a template asks for its turn', fc.integer({ min: 1, max: 3 }), (may, build) =>
    may.askTemplateTurn(build),
  ),
  ...often(
    6,
    'a template loads no more',
    fc.constantFrom('templateSettled', 'templateOverdue'),
    (may, how) => may.endTemplateTurn(how),
  ),
  ...often(2, 'the checks look', fc.boolean(), (may, ok) => may.checkEnvironment(ok)),
  ...often(3, 'a cancel is overdue', which, (may, which) => may.cancelOverdue(which)),
  ...often(2, 'speeds are learned', speeds, (may, speeds) => may.learn(speeds)),
  ...often(10, 'old news comes', which, (may, which) => may.repeatOldNews(which)),
  ...often(8, 'a GPU crashes', which, (may, which) => may.crashGpu(which)),
  ...often(6, 'the queue crashes', fc.tuple(unheard, which, result), (may, [what, which, result]) =>
    may.crashQueue(() => {
      if (what === 'a generation') may.endGeneration(which, result)
      if (what === 'a conversion') may.endConversion(which)
    }),
  ),
  ...often(4, 'the service crashes', fc.tuple(ours, fc.boolean()), (may, [gpus, reboot]) =>
    may.crashService(gpus, { reboot }),
  ),
  ...often(1, 'the queue is closed', fc.constant(undefined), (may) => may.close()),
]

const settings: fc.Arbitrary<QueueSettings> = fc
  .record({
    gpus: ours,
    maxAttempts: fc.integer({ min: 1, max: 3 }),
    maxQueue: fc.constantFrom(5, 100),
    maxConcurrentLoads: fc.integer({ min: 1, max: 3 }),
    orphanPolicy: fc.constantFrom('adopt', 'requeue', 'fail'),
  })
  .map((chosen) => ({ ...queueSettings, ...chosen }))

const story = (rules: Rules) =>
  fc.property(
    settings,
    fc.commands(commands, { maxCommands: 200, size: 'max' }),
    (settings, commands) => {
      const world = createWorld(settings, rules)
      fc.modelRun(() => ({ model: {}, real: world }), commands)
      world.settle()
    },
  )

describe('the queue', () => {
  it(`keeps its word in ${runs} stories of work, crashes and late news`, () => {
    fc.assert(story(rules), { seed, numRuns: runs })
  })
})

describe('the stories', () => {
  it.each<[what: string, broken: Rules]>([
    [
      'claims the youngest job first',
      broken((state, message, at) => {
        if (message.type !== 'admit') return transition(state, message, at)
        const [next, effects] = transition({ ...state, nextSeq: -state.nextSeq }, message, at)
        return [{ ...next, nextSeq: state.nextSeq + 1 }, effects]
      }),
    ],
    [
      'believes news of any epoch',
      broken((state, message, at) => {
        const epoch = 'epoch' in message && state.running.get(message.jobId)?.epoch
        const believed = epoch ? ({ ...message, epoch } as QueueNews) : message
        return transition(state, believed, at)
      }),
    ],
    [
      'forgets a cancel in a crash',
      {
        transition,
        restoreQueue: (settings, stored) => withoutCancels(restoreQueue(settings, stored)),
      },
    ],
    [
      'makes a success of what was canceled',
      broken((state, message, at) => {
        if (message.type !== 'converted') return transition(state, message, at)
        return transition(withoutCancels(state), message, at)
      }),
    ],
    [
      'promises one name to two jobs',
      broken((state, message, at) =>
        transition({ ...state, names: undefined, reserved: undefined }, message, at),
      ),
    ],
    [
      'takes two jobs for one key',
      broken((state, message, at) => transition({ ...state, recent: noneRecent }, message, at)),
    ],
    ['does not store a cancel', without('store', 'requestCancel')],
    ['does not stop what is canceled', without('stopGeneration')],
    ['does not adopt', without('adoptGeneration')],
    ['gives no turn to a template', without('giveTemplateTurn')],
    ['does not convert', without('convert')],
    [
      'loads as many models as there are GPUs',
      broken((state, message, at) => {
        const limit = homeOf(state).maxConcurrentLoads
        const boundless = withHome(state, { maxConcurrentLoads: Number.POSITIVE_INFINITY })
        const [next, effects] = transition(boundless, message, at)
        return [withHome(next, { maxConcurrentLoads: limit }), effects]
      }),
    ],
    ['tries once too often', withSettings({ maxAttempts: 4 })],
    [
      'counts what never began as a failure',
      broken((state, message, at) => {
        const never = message.type === 'generationEnded' && message.result.how === 'neverBegan'
        return transition(state, never ? { ...message, result: { how: 'lost' } } : message, at)
      }),
    ],
    [
      'does not know a GPU again that comes back',
      broken((state, message, at) => {
        const known = message.type === 'gpuReady' && !message.incarnation.endsWith('.1')
        return known ? [state, []] : transition(state, message, at)
      }),
    ],
  ])('find a queue that %s', (_what, broken) => {
    const { failed } = fc.check(story(broken), { seed, numRuns: runs, endOnFailure: true })
    expect(failed).toBe(true)
  })
})

function broken(transition: Rules['transition']): Rules {
  return { ...rules, transition }
}

function withoutCancels(state: QueueState): QueueState {
  const running = [...state.running.values()].map((job) => ({ ...job, cancelRequested: false }))
  return { ...state, running: RunningJobs.of(running, state.settings.gpus) }
}

/** Rules that leave out an effect. */
function without(effect: QueueEffect['do'], operation?: QueueOperation['op']): Rules {
  return broken((state, message, at) => {
    const [next, effects] = transition(state, message, at)
    const isMissing = (one: QueueEffect) =>
      one.do === effect && (one.do !== 'store' || one.operation.op === operation)
    return [next, effects.filter((one) => !isMissing(one))]
  })
}

/** Rules that go by other settings than the ones they were given. */
function withSettings(others: Partial<QueueSettings>): Rules {
  return broken((state, message, at) => {
    const { settings } = state
    const [next, effects] = transition(
      { ...state, settings: { ...settings, ...others } },
      message,
      at,
    )
    return [{ ...next, settings }, effects]
  })
}
