import { causeOf } from '../../domain/client.ts'
import type { Timestamp } from '../../domain/job.ts'
import { answer, answerFailed, type Step } from '../actor.ts'
import { holdOf, lookAtClock, type Moment } from './clock-rules.ts'
import type { FinishedJob } from './janitor-ports.ts'
import type {
  PurgeCommand,
  RetentionEffect,
  RetentionMessage,
  RetentionState,
  Run,
} from './retention-protocol.ts'
import {
  bytesOf,
  choose,
  count,
  nothing,
  type RetentionLimits,
  selectionsOf,
} from './retention-rules.ts'

export type RetentionStep = Step<RetentionState, RetentionEffect>

export const initialRetentionState: RetentionState = {
  clock: {},
  runs: [],
  noteAtUptimeMs: 0,
  tidyAtUptimeMs: 0,
  failed: false,
}

/** Nothing else waits for long, however many jobs there are. */
const leavingAtOnce = 20
const countedAtOnce = 500

/** Less than proxies wait for an answer. */
const purgeMs = 25_000

const tidyEveryMs = 6 * 60 * 60_000

/** A restart within this time does not look like a gap, and a commit a minute is next to nothing. */
const noteEveryMs = 60_000

/** Every rule of how what is over its time goes, with no clock, disk or store in sight. */
export function retain(
  limits: RetentionLimits,
  state: RetentionState,
  message: RetentionMessage,
  now: Moment,
): RetentionStep {
  const [run, ...others] = state.runs
  switch (message.type) {
    case 'sweepDue':
      return [state, [...(isSweeping(state) ? [] : [{ do: 'readLatestEnd' } as const]), later]]
    case 'latestEndRead':
      return sweep(limits, state, message.latestEnd, now)
    case 'sweepFailed':
      return sayOnce(state, message.error)
    case 'purge':
      return add(state, [purgeRun(message, now)])
  }
  if (!run) return [state, []]
  const going = (next: Run): RetentionState => ({ ...state, runs: [next, ...others] })
  switch (message.type) {
    case 'weighed':
      return proceed(
        going({ ...run, bytesToFree: message.bytes - (run.selection.maxBytes ?? 0) }),
        now,
      )
    case 'pageRead':
      return message.jobs.length === 0
        ? end(state, { complete: true })
        : turnPage(going, run, message.jobs, now)
    case 'expired': {
      const gone = run.leaving.filter(({ jobId }) => message.gone.includes(jobId))
      const next = taken(run, gone, run.leaving.length - gone.length)
      if (message.error === undefined) return proceed(going(next), now)
      const [told, said] = sayOnce(going({ ...next, failed: true }), message.error)
      const [after, effects] = proceed(told, now)
      return [after, [...said, ...effects]]
    }
    case 'stepFailed':
      return fail(state, run, message.error)
  }
}

const later: RetentionEffect = { do: 'sweepLater' }

const isSweeping = ({ runs }: RetentionState): boolean => runs.some(({ purge }) => !purge)

function sweep(
  limits: RetentionLimits,
  state: RetentionState,
  latestEnd: Timestamp | undefined,
  now: Moment,
): RetentionStep {
  const clock = lookAtClock(state.clock, now, latestEnd, limits.retentionMs)
  const { doubt } = clock
  const hold = holdOf(clock, now)
  const isNews = doubt !== state.clock.doubt
  const isNoteDue = isNews || now.uptimeMs >= state.noteAtUptimeMs
  const noteAtUptimeMs = isNoteDue ? now.uptimeMs + noteEveryMs : state.noteAtUptimeMs
  const said: RetentionEffect[] = [
    // First: a crash before the next step must not end the hold.
    ...(isNoteDue ? [{ do: 'noteClock', hold } as const] : []),
    { do: 'observeHold', hold },
    ...(limits.retentionMs > 0 && isNews ? [{ do: 'logClock', doubt, latestEnd } as const] : []),
  ]
  const forget: RetentionEffect = { do: 'forgetTombstones', before: now.at - limits.tombstoneMs }
  const isTidyDue =
    doubt === undefined && limits.retentionMs > 0 && now.uptimeMs >= state.tidyAtUptimeMs
  const tidyAtUptimeMs = isTidyDue ? now.uptimeMs + tidyEveryMs : state.tidyAtUptimeMs
  const runs = selectionsOf(limits, now.at, doubt === undefined).map(newRun)
  const [next, effects] = add({ ...state, clock, noteAtUptimeMs, tidyAtUptimeMs }, runs)
  const tidy: RetentionEffect = { do: 'removeLeftOvers', before: now.at - limits.retentionMs }
  return [next, [...said, ...(doubt ? [] : [forget]), ...(isTidyDue ? [tidy] : []), ...effects]]
}

const newRun = (selection: Run['selection']): Run => ({
  selection,
  tally: nothing,
  leaving: [],
  failed: false,
})

function purgeRun(command: PurgeCommand, { at, uptimeMs }: Moment): Run {
  const { wish, dryRun, by, replyTo } = command
  const { olderThanMs, ...rest } = wish
  const endedBefore = olderThanMs === undefined ? {} : { endedBefore: at - olderThanMs }
  const untilUptimeMs = uptimeMs + purgeMs
  const purge = { replyTo, dryRun, by, untilUptimeMs, ...causeOf(command) }
  return { ...newRun({ ...rest, ...endedBefore }), purge }
}

/** One run at a time takes one step at a time: whoever waits for an answer goes first. */
function add(state: RetentionState, more: readonly Run[]): RetentionStep {
  const runs = [...state.runs, ...more]
  return state.runs.length > 0 ? [{ ...state, runs }, []] : step({ ...state, runs })
}

/** Goes on with the run that is under way, unless it has come to its end or to its time. */
function proceed(state: RetentionState, { uptimeMs }: Moment): RetentionStep {
  const [run] = state.runs
  if (!run) return [state, []]
  if (run.bytesToFree !== undefined && run.bytesToFree <= 0) return end(state, { complete: true })
  if (run.purge && uptimeMs > run.purge.untilUptimeMs) return end(state, { complete: false })
  return step(state)
}

function step(state: RetentionState): RetentionStep {
  const runs = state.runs.toSorted((a, b) => Number(!a.purge) - Number(!b.purge))
  const [run] = runs
  if (!run) return [state, []]
  const { after, bytesToFree, purge } = run
  const { maxBytes, ...which } = run.selection
  const withVideo = maxBytes !== undefined
  if (withVideo && bytesToFree === undefined) return [{ ...state, runs }, [{ do: 'weigh' }]]
  const limit = purge?.dryRun ? countedAtOnce : leavingAtOnce
  const filter = { ...which, limit, withVideo, ...(after && { after }) }
  return [{ ...state, runs }, [{ do: 'readPage', filter }]]
}

function turnPage(
  going: (next: Run) => RetentionState,
  run: Run,
  jobs: readonly FinishedJob[],
  now: Moment,
): RetentionStep {
  const { chosen, kept, last } = choose(jobs, run.bytesToFree)
  const passed: Run = { ...run, ...(last && { after: last }) }
  if (run.purge?.dryRun || chosen.length === 0) {
    return proceed(going(taken(passed, chosen, kept)), now)
  }
  return [
    going({ ...taken(passed, [], kept), leaving: chosen }),
    [{ do: 'expire', jobIds: chosen.map(({ jobId }) => jobId) }],
  ]
}

const taken = (run: Run, gone: readonly FinishedJob[], kept: number): Run => ({
  ...run,
  leaving: [],
  tally: count(run.tally, gone, kept),
  ...(run.bytesToFree !== undefined && { bytesToFree: run.bytesToFree - bytesOf(gone) }),
})

function end(state: RetentionState, { complete }: { complete: boolean }): RetentionStep {
  const [run, ...runs] = state.runs
  if (!run) return [state, []]
  const { purge, tally } = run
  const [next, effects] = step({ ...state, runs, failed: run.failed && state.failed })
  return [
    next,
    [
      ...(tally.jobs > 0 && !purge?.dryRun ? [{ do: 'logGone', run } as const] : []),
      ...(purge ? [answer(purge.replyTo, { ...tally, complete })] : []),
      ...effects,
    ],
  ]
}

/** What of it was to come is tried again by the next sweep, or when it is asked for again. */
function fail(state: RetentionState, { purge }: Run, error: unknown): RetentionStep {
  const [told, said] = purge
    ? ([state, [answerFailed(purge.replyTo, 'jobs could not be purged', error)]] as const)
    : sayOnce(state, error)
  const [next, effects] = step({ ...told, runs: told.runs.slice(1) })
  return [next, [...said, ...effects]]
}

/** A disk that is full stays so for a while. */
const sayOnce = (state: RetentionState, error: unknown): RetentionStep => [
  { ...state, failed: true },
  state.failed ? [] : [{ do: 'logSweepFailed', error }],
]
