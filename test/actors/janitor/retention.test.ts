import { describe, expect, it } from 'vitest'
import { createPlace } from '../../../src/actors/actor.ts'
import {
  type Clock,
  holdAtStart,
  holdMs,
  holdOf,
  lookAtClock,
  type Moment,
} from '../../../src/actors/janitor/clock-rules.ts'
import type { FinishedJob } from '../../../src/actors/janitor/janitor-ports.ts'
import type {
  PurgeAnswer,
  RetentionMessage,
  RetentionState,
} from '../../../src/actors/janitor/retention-protocol.ts'
import { choose, expiryOf, selectionsOf } from '../../../src/actors/janitor/retention-rules.ts'
import { initialRetentionState, retain } from '../../../src/actors/janitor/retention-transition.ts'
import type { Hold } from '../../../src/domain/hold.ts'
import { createDownloads } from '../../../src/infra/media/downloads.ts'
import { aQueuedJob, jobId, midnight } from '../../support/jobs.ts'

const hour = 60 * 60_000
const day = 24 * hour

describe('the time of a job', () => {
  const over = { ...aQueuedJob(1), state: { status: 'canceled', endedAt: midnight } } as const

  it('is over so long after its end', () => {
    expect(expiryOf(over, day)).toBe(midnight + day)
  })

  it.each([
    ['is open', aQueuedJob(1), day],
    ['is pinned', { ...over, pinnedAt: midnight }, day],
    ['is kept for good', over, 0],
  ])('is never over while it %s', (_, job, retentionMs) => {
    expect(expiryOf(job, retentionMs)).toBeUndefined()
  })
})

describe('what goes by itself', () => {
  it.each([
    ['nothing without limits', { retentionMs: 0, maxResultBytes: 0, tombstoneMs: day }, true, []],
    [
      'what is too old, and what there is no room for',
      { retentionMs: day, maxResultBytes: 7, tombstoneMs: day },
      true,
      [{ endedBefore: midnight - day }, { maxBytes: 7 }],
    ],
    [
      'nothing by age by a clock that is not believed',
      { retentionMs: day, maxResultBytes: 7, tombstoneMs: day },
      false,
      [{ maxBytes: 7 }],
    ],
  ])('is %s', (_, limits, isClockRight, selections) => {
    expect(selectionsOf(limits, midnight, isClockRight)).toEqual(selections)
  })

  it('is the oldest until there is room, but not what somebody is still to be told of', () => {
    const [first, second, third] = [aJob(1), aJob(2, { isAwaited: true }), aJob(3)]
    const page = [first, second, third, aJob(4)]
    expect(choose(page, 11)).toEqual({ chosen: [first, third], kept: 1, last: third })
    expect(choose(page, 10)).toEqual({ chosen: [first], kept: 0, last: first })
    expect(choose(page, 0)).toEqual({ chosen: [], kept: 0, last: undefined })
    expect(choose(page)).toMatchObject({ kept: 1, last: { jobId: jobId(4) } })
  })
})

describe('a clock', () => {
  it('is believed as long as it goes on as it should', () => {
    const clock = aClock()
    expect(clock.shows(0, midnight - hour)).toBeUndefined()
    clock.waits(40 * day)
    expect(clock.shows(0, midnight - hour)).toBeUndefined()
    expect(clock.shows(hour, midnight - hour)).toBeUndefined()
  })

  it.each([[2 * hour], [-2 * hour], [3_650 * day]])(
    'that is set by %d ms is not believed for a day',
    (by) => {
      const clock = aClock()
      clock.shows(0)
      expect(clock.shows(by)).toBe('jumped')
      clock.waits(holdMs - 1)
      expect(clock.shows(0)).toBe('jumped')
      clock.waits(1)
      expect(clock.shows(0)).toBeUndefined()
    },
  )

  it('by which all is over its time when the service begins is not believed for a day', () => {
    const clock = aClock()
    expect(clock.shows(0, midnight - 31 * day)).toBe('all_due')
    clock.waits(holdMs)
    expect(clock.shows(0, midnight - 31 * day)).toBeUndefined()
  })

  it('may find that all is over its time while the service runs', () => {
    const clock = aClock()
    expect(clock.shows(0, midnight)).toBeUndefined()
    clock.waits(31 * day)
    expect(clock.shows(0, midnight)).toBeUndefined()
  })

  it('behind the end of a job deletes nothing too soon, and so is believed', () => {
    expect(aClock().shows(0, midnight + 40 * day)).toBeUndefined()
  })

  it('by which all is over its time does not begin a hold again that has begun before', () => {
    const clock = aClock({ because: 'gap', leftMs: 5 * hour })
    expect(clock.shows(0, midnight - 31 * day)).toBe('gap')
    clock.waits(5 * hour)
    expect(clock.shows(0, midnight - 31 * day)).toBeUndefined()
  })

  it('that is set in many small steps is not believed once they are more than an hour', () => {
    const clock = aClock()
    clock.shows(0)
    for (let step = 1; step <= 6; step++) {
      clock.waits(hour)
      expect(clock.shows(10 * 60_000)).toBeUndefined()
    }
    expect(clock.shows(10 * 60_000)).toBe('jumped')
    clock.waits(holdMs)
    expect(clock.shows(0)).toBeUndefined()
  })

  it('is not believed for what was left of a day at the end of the last run', () => {
    const clock = aClock({ because: 'gap', leftMs: 5 * hour })
    expect(clock.shows(0)).toBe('gap')
    expect(clock.hold()).toEqual({ because: 'gap', leftMs: 5 * hour })
    clock.waits(2 * hour)
    expect(clock.shows(0)).toBe('gap')
    expect(clock.hold()).toEqual({ because: 'gap', leftMs: 3 * hour })
    clock.waits(3 * hour)
    expect(clock.shows(0)).toBeUndefined()
    expect(clock.hold()).toBeUndefined()
  })
})

describe('a start', () => {
  const left = { because: 'jumped', leftMs: 3 * hour } as const
  const heldFor = (seenBefore: number | undefined, hold?: Hold) =>
    holdAtStart({ seenAt: seenBefore && midnight - seenBefore, hold }, midnight)

  it.each([
    ['after the first there ever was', undefined],
    ['within an hour of the last run', hour],
    ['with a clock that was set back a little', -hour],
  ])('%s holds nothing', (_, seenBefore) => {
    expect(heldFor(seenBefore)).toBeUndefined()
  })

  it.each([
    ['more than an hour after the last run', hour + 1, 'gap'],
    ['weeks after the last run', 21 * day, 'gap'],
    ['before the last run', -hour - 1, 'behind'],
  ])('%s holds deletions for a day', (_, seenBefore, because) => {
    expect(heldFor(seenBefore)).toEqual({ because, leftMs: holdMs })
  })

  it('goes on with a hold that had not ended', () => {
    expect(heldFor(60_000, left)).toEqual(left)
  })

  it('does not begin a hold again after a night or a weekend, so that each has an end', () => {
    for (const gap of [16 * hour, 64 * hour]) expect(heldFor(gap, left)).toEqual(left)
  })

  it('begins a hold again when the clock is far from where it was', () => {
    for (const gap of [9 * day, -9 * day]) expect(heldFor(gap, left)?.leftMs).toBe(holdMs)
  })
})

describe('a janitor with limits', () => {
  const limits = { retentionMs: 30 * day, maxResultBytes: 0, tombstoneMs: 90 * day }

  it('takes a few at a time until there are no more, and then says what has gone', () => {
    const janitor = aJanitor(limits)
    expect(janitor.hears({ type: 'sweepDue' })).toEqual([
      { do: 'readLatestEnd' },
      { do: 'sweepLater' },
    ])
    const endedBefore = midnight - 30 * day
    expect(janitor.hears({ type: 'latestEndRead', latestEnd: midnight })).toContainEqual({
      do: 'readPage',
      filter: { endedBefore, limit: 20, withVideo: false },
    })
    const jobs = [aJob(1), aJob(2)]
    expect(janitor.hears({ type: 'pageRead', jobs })).toEqual([
      { do: 'expire', jobIds: [jobId(1), jobId(2)] },
    ])
    expect(janitor.hears({ type: 'expired', gone: [jobId(1)] })).toEqual([
      { do: 'readPage', filter: { endedBefore, limit: 20, withVideo: false, after: aJob(2) } },
    ])
    expect(janitor.hears({ type: 'pageRead', jobs: [] })).toMatchObject([
      { do: 'logGone', run: { tally: { jobs: 1, bytes: 10, kept: 1 } } },
    ])
  })

  it('does not begin another sweep while one goes on', () => {
    const janitor = aJanitor(limits)
    janitor.hears({ type: 'latestEndRead', latestEnd: midnight })
    expect(janitor.hears({ type: 'sweepDue' })).toEqual([{ do: 'sweepLater' }])
  })

  it('turns to whoever waits for an answer between two steps, and then goes on', () => {
    const janitor = aJanitor(limits)
    janitor.hears({ type: 'latestEndRead', latestEnd: midnight })
    expect(janitor.hears(aPurge({ dryRun: true }))).toEqual([])
    janitor.hears({ type: 'pageRead', jobs: [aJob(1)] })
    expect(janitor.hears({ type: 'expired', gone: [jobId(1)] })).toMatchObject([
      { do: 'readPage', filter: { limit: 500 } },
    ])
    expect(janitor.hears({ type: 'pageRead', jobs: [] })).toMatchObject([
      { do: 'answer', value: { jobs: 0, complete: true } },
      { do: 'readPage', filter: { limit: 20, after: aJob(1) } },
    ])
  })

  it('answers in time, however much is left', () => {
    const janitor = aJanitor(limits)
    janitor.hears(aPurge({ dryRun: false }))
    janitor.hears({ type: 'pageRead', jobs: [aJob(1)] })
    janitor.waits(25_001)
    expect(janitor.hears({ type: 'expired', gone: [jobId(1)] })).toMatchObject([
      { do: 'logGone' },
      { do: 'answer', value: { jobs: 1, complete: false } },
    ])
  })

  it('says once that something cannot be removed, and tells who waits for it', () => {
    const janitor = aJanitor(limits)
    const error = new Error('no')
    const said = [1, 2].map(() => {
      janitor.hears({ type: 'latestEndRead', latestEnd: midnight })
      return janitor.hears({ type: 'stepFailed', error })
    })
    expect(said).toEqual([[{ do: 'logSweepFailed', error }], []])
    janitor.hears(aPurge({ dryRun: false }))
    expect(janitor.hears({ type: 'stepFailed', error })).toMatchObject([
      { do: 'answerFailed', cause: error },
    ])
  })

  it('goes on behind what cannot be removed, and says so once until all goes well', () => {
    const janitor = aJanitor(limits)
    const error = new Error('no')
    const sweep = (failed: object) => {
      janitor.hears({ type: 'latestEndRead', latestEnd: midnight })
      janitor.hears({ type: 'pageRead', jobs: [aJob(1), aJob(2)] })
      const effects = janitor.hears({ type: 'expired', gone: [jobId(2)], ...failed })
      expect(effects.at(-1)).toMatchObject({ do: 'readPage', filter: { after: aJob(2) } })
      janitor.hears({ type: 'pageRead', jobs: [] })
      return effects.slice(0, -1)
    }
    const said = [{ error }, { error }, {}, { error }].map(sweep)
    const once = [{ do: 'logSweepFailed', error }]
    expect(said).toEqual([once, [], [], once])
  })

  it('says what it thinks of the clock when that changes', () => {
    const janitor = aJanitor(limits)
    const look = () =>
      janitor
        .hears({ type: 'latestEndRead', latestEnd: midnight })
        .filter((effect) => effect.do === 'logClock')
    expect(look()).toEqual([])
    janitor.sets(day)
    expect(look()).toMatchObject([{ doubt: 'jumped' }])
    expect(look()).toEqual([])
    janitor.waits(day)
    expect(look()).toMatchObject([{ doubt: undefined }])
  })

  it('notes the clock once a minute, and at once when it is in doubt, before anything goes', () => {
    const janitor = aJanitor(limits)
    const look = () => janitor.hears({ type: 'latestEndRead', latestEnd: midnight })
    const noted = () => look().filter(({ do: name }) => name === 'noteClock')
    expect(look()[0]).toEqual({ do: 'noteClock', hold: undefined })
    janitor.waits(59_999)
    expect(noted()).toEqual([])
    janitor.waits(1)
    expect(noted()).toHaveLength(1)
    janitor.sets(9 * day)
    expect(look().slice(0, 3)).toEqual([
      { do: 'noteClock', hold: { because: 'jumped', leftMs: day } },
      { do: 'observeHold', hold: { because: 'jumped', leftMs: day } },
      { do: 'logClock', doubt: 'jumped', latestEnd: midnight },
    ])
  })

  it('removes nothing by age in a day after the clock was set, and goes on then', () => {
    const janitor = aJanitor({ ...limits, maxResultBytes: 0 })
    const goes = () =>
      janitor
        .hears({ type: 'latestEndRead', latestEnd: midnight })
        .filter(({ do: name }) =>
          ['readPage', 'forgetTombstones', 'removeLeftOvers'].includes(name),
        )
    goes()
    janitor.hears({ type: 'pageRead', jobs: [] })
    janitor.sets(100 * day)
    expect(goes()).toEqual([])
    janitor.waits(day - 1)
    expect(goes()).toEqual([])
    janitor.waits(1)
    expect(goes()).toHaveLength(3)
  })

  it('tidies up after the long gone now and then, if the clock is believed', () => {
    const janitor = aJanitor(limits)
    const tidied = (latestEnd: number) =>
      janitor
        .hears({ type: 'latestEndRead', latestEnd })
        .filter(({ do: name }) => ['forgetTombstones', 'removeLeftOvers'].includes(name))
    const forget = { do: 'forgetTombstones', before: midnight - 90 * day }
    expect(tidied(midnight)).toEqual([
      forget,
      { do: 'removeLeftOvers', before: midnight - 30 * day },
    ])
    expect(tidied(midnight)).toEqual([forget])
    janitor.waits(6 * hour)
    expect(tidied(midnight)).toHaveLength(2)
  })
})

describe('a file', () => {
  it('is in use while it is read, and for a minute after, as players pause', () => {
    let now = 5
    const { begin, isInUse } = createDownloads(() => now)
    expect(isInUse('a.mp4')).toBe(false)
    const [first, second] = [begin('a.mp4'), begin('a.mp4')]
    now += 60 * hour
    first()
    now += hour
    expect(isInUse('a.mp4')).toBe(true)
    expect(isInUse('b.mp4')).toBe(false)
    second()
    now += 59_999
    begin('b.mp4')()
    expect(isInUse('a.mp4')).toBe(true)
    now += 1
    begin('c.mp4')()
    expect(['a.mp4', 'b.mp4', 'c.mp4'].map(isInUse)).toEqual([false, true, true])
  })
})

function aClock(found?: Hold) {
  let clock: Clock = found ? { found } : {}
  let now: Moment = { at: midnight, uptimeMs: 1_000 }
  const move = (at: number, uptimeMs: number) => {
    now = { at: now.at + at, uptimeMs: now.uptimeMs + uptimeMs }
  }
  return {
    waits: (ms: number) => move(ms, ms),
    /** What is thought of it when it has been set by so much since. */
    shows(setBy: number, latestEnd?: number) {
      move(setBy, 0)
      clock = lookAtClock(clock, now, latestEnd, 30 * day)
      return clock.doubt
    },
    hold: () => holdOf(clock, now),
  }
}

function aJanitor(limits: Parameters<typeof retain>[0]) {
  let state: RetentionState = initialRetentionState
  const now = { at: midnight, uptimeMs: 1_000 }
  return {
    hears(message: RetentionMessage) {
      const [next, effects] = retain(limits, state, message, { ...now })
      state = next
      return effects
    },
    waits(ms: number) {
      now.at += ms
      now.uptimeMs += ms
    },
    sets(byMs: number) {
      now.at += byMs
    },
  }
}

const aPurge = ({ dryRun }: { dryRun: boolean }) =>
  ({
    type: 'purge',
    wish: {},
    dryRun,
    by: 'ops',
    replyTo: createPlace<PurgeAnswer>('ops'),
  }) as const

const aJob = (n: number, known: Partial<FinishedJob> = {}): FinishedJob => ({
  jobId: jobId(n),
  seq: n,
  endedAt: midnight + n,
  bytes: 10,
  isAwaited: false,
  ...known,
})
