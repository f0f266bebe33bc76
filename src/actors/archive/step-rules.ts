/**
 * Requests take turns. A step takes a few jobs of the first requests, works on their files, and
 * writes all changes in one commit. There is one step at a time, so two requests never work on the
 * same job, and a single deletion does not wait for a bulk of thousands.
 */
import type { JobId, Timestamp } from '../../domain/job.ts'
import type { Step } from '../actor.ts'
import { entries, remove, values } from '../ordered-map.ts'
import type { CommitResult } from '../queue/queue-ports.ts'
import type { JobChange } from '../queue/queue-protocol.ts'
import type { ArchiveEffect } from './archive-effects.ts'
import type { ArchiveOperation } from './archive-ports.ts'
import type { Task, TaskOutcome } from './archive-protocol.ts'
import {
  type ArchiveState,
  type ArchiveStep,
  addRequest,
  type DoneShare,
  type Request,
  type Share,
} from './archive-state.ts'
import {
  answerTo,
  giveUp,
  isFinished,
  isUncertain,
  logsOf,
  mustBeWritten,
  operationsOf,
} from './request-rules.ts'

export type ArchiveTurn = Step<ArchiveState, ArchiveEffect>

/** Bounds the time that other requests wait for a bulk deletion. */
const maxJobsPerStep = 20

/** New requests are refused as long as the store cannot write. */
export function enqueue(state: ArchiveState, request: Request): ArchiveTurn {
  if (state.step?.phase === 'blocked') return [state, giveUp(request, state.step.error)]
  return startStep(addRequest(state, request))
}

/** Starts the next step, unless one is under way or there is nothing to do. */
function startStep(state: ArchiveState): ArchiveTurn {
  if (state.step) return [state, []]
  const shares: Share[] = []
  const jobIds = new Set<JobId>()
  let { requests } = state
  for (const [number, request] of entries(state.requests)) {
    const tasks = nextTasks(request, jobIds)
    if (tasks.length === 0 && request.tasks.length > 0) continue
    for (const { jobId } of tasks) jobIds.add(jobId)
    shares.push({ request, tasks })
    requests = remove(requests, number)
    if (jobIds.size === maxJobsPerStep) break
  }
  if (shares.length === 0) return [state, []]
  return [
    { ...state, requests, step: { phase: 'working', shares } },
    [{ do: 'work', tasks: shares.flatMap(({ tasks }) => tasks) }],
  ]
}

/** Tasks for this step: no more than there is room for, and none of a job that is in it already. */
function nextTasks({ tasks, outcomes }: Request, taken: ReadonlySet<JobId>): readonly Task[] {
  const from = outcomes.length
  const next = tasks.slice(from, from + maxJobsPerStep - taken.size)
  const own = new Set<JobId>()
  const free = next.findIndex(({ jobId }) => {
    const isTaken = taken.has(jobId) || own.has(jobId)
    own.add(jobId)
    return isTaken
  })
  return free === -1 ? next : next.slice(0, free)
}

export function worked(
  state: ArchiveState,
  outcomes: readonly TaskOutcome[],
  at: Timestamp,
): ArchiveTurn {
  const { step } = state
  if (step?.phase !== 'working') return [state, []]
  let from = 0
  const shares = step.shares.map((share): DoneShare => {
    const own = outcomes.slice(from, from + share.tasks.length)
    from += own.length
    return { ...share, outcomes: own }
  })
  const operations = shares.flatMap((share) => operationsOf(share, at))
  if (operations.length === 0) return conclude(state, shares, operations)
  return [
    { ...state, step: { phase: 'writing', shares, operations } },
    [{ do: 'commit', operations }],
  ]
}

export function written(state: ArchiveState, result: CommitResult): ArchiveTurn {
  const { step } = state
  if (step?.phase !== 'writing') return [state, []]
  switch (result.how) {
    case 'committed':
      return conclude(state, step.shares, step.operations)
    case 'full':
    case 'locked':
    case 'unreachable':
      return block(state, step, result.error)
    case 'stale': {
      const refused = refuse(
        step.shares.map(({ request }) => request),
        new Error(result.why),
      )
      const [next, effects] = startStep({ ...withoutStep(state), isRecovered: false })
      const failed: ArchiveEffect[] = [{ do: 'logStale', why: result.why }, ...refused]
      // What was announced is completed, as after a crash.
      return [next, [...failed, { do: 'readRemovals' }, ...effects]]
    }
  }
}

export function retry(state: ArchiveState): ArchiveTurn {
  const { step } = state
  if (step?.phase !== 'blocked') return [state, []]
  const { shares, operations } = step
  return [
    { ...state, step: { phase: 'writing', shares, operations } },
    [{ do: 'commit', operations }],
  ]
}

/** The step is durable: its requests are answered, or wait for their next turn. */
function conclude(
  state: ArchiveState,
  shares: readonly DoneShare[],
  operations: readonly ArchiveOperation[],
): ArchiveTurn {
  const changes = changesIn(operations)
  const effects: ArchiveEffect[] = [
    ...(changes.size > 0 ? [{ do: 'tellChanges', changes } as const] : []),
    ...shares.flatMap(logsOf),
  ]
  let next = withoutStep(state)
  for (const { request, outcomes } of shares) {
    const done = { ...request, outcomes: [...request.outcomes, ...outcomes] }
    if (isFinished(done)) effects.push(...answerTo(done, state.queue))
    else next = addRequest(next, done)
  }
  if (!next.completesLater && shares.some(isUncertain)) {
    next = { ...next, completesLater: true }
    effects.push({ do: 'completeLater' })
  }
  const [started, more] = startStep(next)
  return [started, [...effects, ...more]]
}

/** Changes whose files are deleted are kept for a retry. Requests that have not started are refused. */
function block(
  state: ArchiveState,
  step: Extract<ArchiveStep, { phase: 'writing' }>,
  error: Error,
): ArchiveTurn {
  const shares = step.shares.filter(mustBeWritten)
  const others = step.shares.filter((share) => !mustBeWritten(share)).map(({ request }) => request)
  const waiting = [...values(state.requests)].filter(({ outcomes }) => outcomes.length === 0)
  const effects: ArchiveEffect[] = [
    { do: 'logBlocked', error },
    ...refuse([...others, ...waiting], error),
  ]
  let next = { ...withoutStep(state), requests: undefined } as ArchiveState
  for (const request of values(state.requests)) {
    if (request.outcomes.length > 0) next = addRequest(next, request)
  }
  if (shares.length === 0) {
    const [started, more] = startStep(next)
    return [started, [...effects, ...more]]
  }
  const jobIds = new Set(shares.flatMap(({ tasks }) => tasks.map(({ jobId }) => jobId)))
  const operations = step.operations.filter((one) => 'jobId' in one && jobIds.has(one.jobId))
  return [
    { ...next, step: { phase: 'blocked', shares, operations, error } },
    [...effects, { do: 'retryLater' }],
  ]
}

const refuse = (requests: readonly Request[], error: Error): ArchiveEffect[] =>
  requests.flatMap((request) => giveUp(request, error))

function withoutStep({ step: _, ...rest }: ArchiveState): ArchiveState {
  return rest
}

const changesIn = (operations: readonly ArchiveOperation[]): ReadonlyMap<JobId, JobChange> =>
  new Map(operations.flatMap((one) => ('jobId' in one ? [[one.jobId, 'status'] as const] : [])))
