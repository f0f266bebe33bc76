import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ActorRef, createPlace } from '../../../src/actors/actor.ts'
import type {
  EventEffect,
  EventMessage,
  EventState,
  LiveMessage,
  Opening,
  Sight,
} from '../../../src/actors/event/event-protocol.ts'
import { startLog } from '../../../src/actors/event/event-state.ts'
import { transition } from '../../../src/actors/event/event-transition.ts'
import { entries } from '../../../src/actors/ordered-map.ts'
import type { JobChange } from '../../../src/actors/queue/queue-protocol.ts'
import { covers, type Scope } from '../../../src/domain/client.ts'
import type { JobId } from '../../../src/domain/job.ts'
import { aRunningJob, jobId, midnight } from '../../support/jobs.ts'

const settings = { keptCharacters: 1_000_000, maxWatchers: 100 }

describe('whoever watches', () => {
  it('is told nothing before the first look, which is the first thing it sees', () => {
    const log = aLog()
    const watcher = log.watches()
    expect(watcher.opening).toBeUndefined()
    log.looks()
    expect(watcher.opening).toMatchObject({ how: 'snapshot' })
  })

  it('of one job is told of that job only', () => {
    const log = aLog()
    const watcher = log.watches(1)
    log.looks()
    log.changes(1, 'status')
    log.changes(2, 'status')
    log.looks()
    expect(watcher.told).toMatchObject([{ type: 'status', view: { job: { id: jobId(1) } } }])
  })

  it('is told of progress at the next beat, however often it changes', () => {
    const log = aLog()
    const watcher = log.watches()
    log.looks()
    for (let n = 0; n < 5; n += 1) log.changes(1, 'step')
    log.looks()
    expect(watcher.told).toEqual([])
    expect(log.performed('expectBeat')).toBe(1)
    log.tell({ type: 'progressDue' })
    log.looks()
    expect(watcher.told).toMatchObject([{ type: 'progress' }])
  })

  it('is told of a new stage at once, and of the step before it no more than that', () => {
    const log = aLog()
    const watcher = log.watches()
    log.looks()
    log.changes(1, 'step')
    log.changes(1, 'stage')
    log.looks()
    expect(watcher.told).toMatchObject([{ type: 'stage' }])
  })

  it('is told of a new status as such, though there was a step while it waited to be looked at', () => {
    const log = aLog()
    const watcher = log.watches()
    log.looks()
    for (const [n, change] of [
      [1, 'status'],
      [2, 'status'],
      [2, 'step'],
    ] as const)
      log.changes(n, change)
    log.tell({ type: 'progressDue' })
    log.looks()
    expect(watcher.told).toMatchObject([
      { type: 'status', view: { job: { id: jobId(1) } } },
      { type: 'status', view: { job: { id: jobId(2) } } },
    ])
  })

  it('is not shown what was looked at before the queue was restored', () => {
    const log = aLog()
    const watcher = log.watches(1)
    log.tell({ type: 'queueRestored' })
    log.tell({ type: 'seen', look: 1, sights: [], open: [] })
    expect(watcher.opening).toBeUndefined()
    log.looks()
    expect(watcher.opening).toMatchObject({ sights: [{ view: { job: { id: jobId(1) } } }] })
  })

  it('is told of its place now and then if it watches one job, and others are not', () => {
    const log = aLog()
    const one = log.watches(1)
    const all = log.watches()
    log.looks()
    log.tell({ type: 'refreshDue' })
    log.tell({ type: 'progressDue' })
    log.looks()
    expect(one.told).toMatchObject([{ type: 'progress' }])
    expect(all.told).toEqual([])
  })

  it('is told nothing any more once it has left, not even if it left before it was answered', () => {
    const log = aLog()
    const early = log.watches()
    log.tell({ type: 'unwatch', watcher: early.ref })
    log.looks()
    log.changes(1, 'status')
    log.looks()
    expect(early).toMatchObject({ opening: undefined, told: [] })
  })

  it('is told of its own jobs only, now, live and when it comes back', () => {
    const log = aLog()
    log.within({ owner: 'bert' })
    const watcher = log.watches()
    const prying = log.watches(1)
    log.looks()
    expect([...watcher.known.keys()]).toEqual([jobId(2), jobId(4)])
    const { id } = watcher.opening as Extract<Opening, { how: 'snapshot' }>
    for (const n of [1, 2, 3]) log.changes(n, 'status')
    log.looks()
    expect(watcher.told).toMatchObject([{ view: { job: { id: jobId(2) } } }])
    expect(log.watches(undefined, id).told).toEqual(watcher.told)
    expect(prying).toMatchObject({ opening: { sights: [] }, told: [] })
  })

  it('is refused when too many do', () => {
    const log = aLog({ maxWatchers: 1 })
    log.watches()
    expect(log.watches().opening).toMatchObject({ code: 'too_many_watchers' })
  })
})

describe('the number of watchers of a job', () => {
  it('counts those that were answered and those that wait, and no watcher of all jobs', () => {
    const log = aLog()
    expect(log.watchersOf(1)).toBe(0)
    const early = log.watches(1)
    log.watches()
    log.watches(2)
    expect(log.watchersOf(1)).toBe(1)
    log.looks()
    const late = log.watches(1)
    expect(log.watchersOf(1)).toBe(2)
    for (const { ref } of [early, late]) log.tell({ type: 'unwatch', watcher: ref })
    expect(log.watchersOf(1)).toBe(0)
    expect(log.watchersOf(2)).toBe(1)
  })
})

describe('steps that nobody watches', () => {
  it('are not looked at', () => {
    const log = aLog()
    log.changes(1, 'step')
    log.tell({ type: 'progressDue' })
    expect(log.performed('look')).toBe(0)
  })

  it('are told to a watcher that comes back later', () => {
    const log = aLog()
    log.changes(1, 'step')
    log.tell({ type: 'progressDue' })
    const watcher = log.watches(undefined, 'life-0')
    log.tell({ type: 'progressDue' })
    log.looks()
    expect(watcher.told).toMatchObject([{ type: 'progress', view: { job: { id: jobId(1) } } }])
  })

  it('are forgotten with the end of their job', () => {
    const log = aLog()
    log.changes(1, 'step')
    log.tell({ type: 'progressDue' })
    expect(log.stepsKept()).toEqual([jobId(1)])
    log.changes(1, 'step')
    log.ends(1)
    log.looks()
    log.tell({ type: 'progressDue' })
    expect(log.stepsKept()).toEqual([])
  })
})

describe('whoever comes back', () => {
  it('is told what it missed of what it watches', () => {
    const log = aLog()
    const watcher = log.watches()
    log.looks()
    const { id } = watcher.opening as Extract<Opening, { how: 'snapshot' }>
    for (const n of [1, 2, 1]) {
      log.changes(n, 'status')
      log.looks()
    }
    const missed = (n?: number) => {
      const { opening } = log.watches(n, id)
      return opening && 'missed' in opening ? opening.missed.map((event) => event.number) : opening
    }
    expect(missed()).toEqual([1, 2, 3])
    expect(missed(1)).toEqual([1, 3])
    expect(missed(7)).toEqual([])
  })

  it.each([
    ['of another life', 'deadbeef-1'],
    ['from the future', 'life-999'],
    ['that is none', 'life-'],
    ['that is none', 'life-NaN'],
    ['of before the queue was restored', 'life-0'],
  ])('with an id %s is shown how things are', (_what, id) => {
    const log = aLog()
    log.tell({ type: 'queueRestored' })
    const watcher = log.watches(1, id)
    log.looks()
    expect(watcher.opening).toMatchObject({ how: 'snapshot' })
  })

  it('with an id whose successors are forgotten is shown how things are', () => {
    const log = aLog({ keptCharacters: 3_500 })
    for (let n = 1; n <= 6; n += 1) {
      log.changes(n, 'status')
      log.looks()
    }
    const first = log.watches(undefined, 'life-2')
    const last = log.watches(undefined, 'life-5')
    log.looks()
    expect(first.opening).toMatchObject({ how: 'snapshot' })
    expect(last.opening).toMatchObject({ how: 'resumed', missed: [{ number: 6 }] })
  })
})

it('tells everybody that it is over, and begins anew, when a look fails', () => {
  const log = aLog()
  const watcher = log.watches()
  log.looks()
  const waiting = log.watches()
  log.fails()
  expect(watcher.told).toEqual([{ type: 'over' }])
  expect(log.performed('answerFailed')).toBe(1)
  log.looks()
  expect(waiting.opening).toBeUndefined()
})

describe('after anything that can happen, every watcher', () => {
  it('knows of every job how it is, without ever having been told of an earlier state again', () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 80 }), (steps) => {
        const log = aLog({ keptCharacters: 6_500 })
        for (const step of steps) log.does(step)
        log.settles()
        log.checkKnowledge()
      }),
      { numRuns: 2_000 },
    )
  })
})

type Step =
  | { do: 'change'; job: number; change: JobChange }
  | { do: 'look' | 'fail' | 'restore' | 'beat' }
  | { do: 'watch'; job?: number | undefined; scope: Scope }
  | { do: 'leave' | 'return'; who: number }

const aJob = fc.integer({ min: 1, max: 4 })
const who = fc.integer({ min: 0, max: 20 })
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('change' as const),
      job: aJob,
      change: fc.constantFrom<JobChange>('status', 'stage', 'step'),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constantFrom('look' as const, 'beat' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('fail' as const, 'restore' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('watch' as const),
      job: fc.option(aJob, { nil: undefined }),
      scope: fc.constantFrom<Scope>('everything', { owner: 'anna' }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constantFrom('leave' as const, 'return' as const), who }),
  },
)

/** The jobs belong to two clients in turn. */
const ownerOf = (n: number): string => (n % 2 === 1 ? 'anna' : 'bert')

type Watcher = {
  ref: ActorRef<LiveMessage>
  scope: Scope
  job: number | undefined
  opening: Opening | object | undefined
  told: LiveMessage[]
  /** The version of each job that it was shown last. */
  known: Map<JobId, number>
  lastId: string | undefined
  there: boolean
  /** As another watcher, who knows what this one knew. */
  isBack: boolean
}

/** The rules in front of jobs that only have a version, which a look shows as their epoch. */
function aLog(changed: Partial<typeof settings> = {}) {
  let state: EventState = startLog({ ...settings, ...changed }, 'life')
  const versions = new Map<number, number>([1, 2, 3, 4].map((n) => [n, 0]))
  const ended = new Set<number>()
  const watchers: Watcher[] = []
  let nextScope: Scope = 'everything'
  const done: EventEffect[] = []
  let look: Extract<EventEffect, { do: 'look' }> | undefined

  function tell(message: EventMessage): void {
    const [next, effects] = transition(state, message)
    state = next
    for (const effect of effects) {
      done.push(effect)
      if (effect.do === 'look') look = effect
      if (effect.do === 'tellWatchers')
        for (const { watcher } of effect.to) hear(by(watcher), effect.message)
      if (effect.do === 'answer') open(by(effect.to as never), effect.value as Opening | object)
      if (effect.do === 'answerFailed') by(effect.to as never).there = false
    }
  }

  const by = (ref: ActorRef<LiveMessage>): Watcher => {
    const watcher = watchers.find((one) => one.ref === ref)
    if (!watcher) throw new Error('nobody is behind this address')
    return watcher
  }

  function hear(watcher: Watcher, message: LiveMessage): void {
    watcher.told.push(message)
    if (message.type === 'over') watcher.there = false
    else learn(watcher, message)
    if ('id' in message) watcher.lastId = message.id
  }

  function open(watcher: Watcher, opening: Opening | object): void {
    watcher.opening = opening
    if (!('how' in opening)) return
    if (opening.how === 'resumed') for (const event of opening.missed) hear(watcher, event)
    else {
      watcher.lastId = opening.id
      for (const sight of opening.sights) learn(watcher, sight)
    }
  }

  function learn({ known }: Watcher, { view: { job } }: Sight): void {
    expect(job.epoch).toBeGreaterThanOrEqual(known.get(job.id) ?? 0)
    known.set(job.id, job.epoch)
  }

  const everything = (): Sight[] =>
    [...versions].map(([n, version]) => ({
      view: {
        job: {
          ...aRunningJob(n),
          ...(ended.has(n) && { state: { status: 'canceled', endedAt: midnight } }),
          epoch: version,
          owner: ownerOf(n),
        },
      },
    }))

  const visible = (scope: Scope) =>
    everything().filter(({ view: { job } }) => covers(scope, { jobId: job.id, owner: job.owner }))

  function watches(job?: number, after?: string, returning?: Watcher): Watcher {
    const scope = returning?.scope ?? nextScope
    const ref = createPlace<never>('watcher') as unknown as ActorRef<LiveMessage>
    const watcher: Watcher = {
      ref,
      scope,
      job,
      opening: undefined,
      told: [],
      known: returning?.known ?? new Map(),
      lastId: after,
      there: true,
      isBack: false,
    }
    if (returning) returning.isBack = true
    watchers.push(watcher)
    tell({
      type: 'watch',
      watcher: ref,
      replyTo: ref as never,
      scope,
      ...(job && { jobId: jobId(job) }),
      ...(after && { after }),
    })
    return watcher
  }

  function looks(): void {
    for (let next = look; next; next = look) {
      look = undefined
      tell({
        type: 'seen',
        look: next.number,
        sights: everything().filter(({ view }) => next.jobIds.includes(view.job.id)),
        open: next.open.map((scope) => ({ scope, sights: visible(scope), hasMore: false })),
      })
    }
  }

  function fails(): void {
    const failing = look
    look = undefined
    if (failing) tell({ type: 'lookFailed', look: failing.number, error: new Error('busy') })
  }

  function changes(n: number, change: JobChange): void {
    versions.set(n, (versions.get(n) ?? 0) + 1)
    tell({ type: 'jobsChanged', changes: new Map([[jobId(n), change]]) })
  }

  return {
    tell,
    watches,
    /** Those who watch from now on may know of these jobs only. */
    within(scope: Scope): void {
      nextScope = scope
    },
    looks,
    fails,
    changes,
    watchersOf(n: number): unknown {
      const asked = { type: 'countWatchers', jobId: jobId(n), replyTo: undefined as never } as const
      const [next, effects] = transition(state, asked)
      expect(next).toBe(state)
      return effects.flatMap((effect) => (effect.do === 'answer' ? [effect.value] : [])).at(0)
    },
    /** A look finds that it is over. */
    ends(n: number): void {
      ended.add(n)
      changes(n, 'status')
    },
    stepsKept: () => [...entries(state.progressed)].map(([id]) => id),
    performed: (what: EventEffect['do']) => done.filter((effect) => effect.do === what).length,

    does(step: Step): void {
      const one = 'who' in step ? watchers[step.who % (watchers.length || 1)] : undefined
      if (step.do === 'change') changes(step.job, step.change)
      else if (step.do === 'watch') {
        nextScope = step.scope
        watches(step.job)
      } else if (step.do === 'look') looks()
      else if (step.do === 'fail') fails()
      else if (step.do === 'beat') tell({ type: 'progressDue' })
      else if (step.do === 'restore') tell({ type: 'queueRestored' })
      else if (one && step.do === 'leave') {
        tell({ type: 'unwatch', watcher: one.ref })
        one.there = false
      } else if (one && !one.there && !one.isBack) watches(one.job, one.lastId, one)
    },

    settles(): void {
      looks()
      // Whoever was told that it is over comes back.
      for (const one of watchers.filter(({ there, isBack }) => !there && !isBack))
        watches(one.job, one.lastId, one)
      tell({ type: 'progressDue' })
      looks()
    },

    checkKnowledge(): void {
      for (const { there, scope, job, known } of watchers) {
        if (!there) continue
        for (const [n, version] of versions) {
          const shown = covers(scope, { jobId: jobId(n), owner: ownerOf(n) })
          if (shown && (job === undefined || job === n))
            expect(known.get(jobId(n)) ?? 0).toBe(version)
        }
      }
    },
  }
}
