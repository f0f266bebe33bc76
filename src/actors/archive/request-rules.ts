/** The tasks of a command, the changes that follow from them, and its answer. */
import { causeOf } from '../../domain/client.ts'
import { RefusalError } from '../../domain/errors.ts'
import type { JobId, Removal, Timestamp } from '../../domain/job.ts'
import { answer, answerFailed } from '../actor.ts'
import type { QueueSnapshot } from '../queue/queue-state.ts'
import type { ArchiveEffect, LostVideo, RecordChange } from './archive-effects.ts'
import type { ArchiveOperation } from './archive-ports.ts'
import type {
  ArchiveCommand,
  ArchiveOrder,
  DeleteVideos,
  DeletionAnswer,
  KeptVideo,
  Task,
  TaskOutcome,
} from './archive-protocol.ts'
import type { DoneShare, Request } from './archive-state.ts'

export const requestOf = (command: Exclude<ArchiveOrder, DeleteVideos>): Request => ({
  command,
  tasks: tasksOf(command),
  outcomes: [],
})

export const deletionOf = (command: DeleteVideos, jobIds: readonly JobId[]): Request => ({
  command,
  tasks: jobIds.map((jobId) => ({ do: 'deleteVideo', jobId })),
  outcomes: [],
})

function tasksOf(command: Exclude<ArchiveOrder, DeleteVideos>): readonly Task[] {
  switch (command.type) {
    case 'pin': {
      const { jobId, pinned, scope } = command
      return [{ do: 'pin', jobId, pinned, scope }]
    }
    case 'remove': {
      const { jobId, scope } = command
      return [{ do: 'remove', jobId, scope }]
    }
    case 'expire':
      return command.jobIds.map((jobId) => ({ do: 'expire', jobId }))
    case 'compareFiles':
      return command.jobIds.map((jobId) => ({ do: 'compare', jobId }))
    case 'completeRemovals':
      return command.removals.map((announced) => ({ do: 'completeRemoval', ...announced }))
    case 'forgetTombstones':
      return []
  }
}

/** All tasks are carried out, or the store fails, and would do so for the rest as well. */
export const isFinished = ({ command, tasks, outcomes }: Request): boolean =>
  outcomes.length === tasks.length ||
  (command.type === 'deleteVideos' && storeFailureIn(outcomes) !== undefined)

const storeFailureIn = (outcomes: readonly TaskOutcome[]) =>
  outcomes.find((outcome) => outcome.how === 'failed' && outcome.filename === undefined)

export function operationsOf(
  { request: { command }, tasks, outcomes }: DoneShare,
  at: Timestamp,
): readonly ArchiveOperation[] {
  if (command.type === 'forgetTombstones') {
    return [{ op: 'forgetTombstones', before: command.before }]
  }
  return pairs(tasks, outcomes).flatMap(([task, outcome]) => operationsAfter(task, outcome, at))
}

function operationsAfter(task: Task, outcome: TaskOutcome, at: Timestamp): ArchiveOperation[] {
  const { jobId } = task
  switch (outcome.how) {
    case 'done': {
      if (task.do === 'pin') return [{ op: 'pin', jobId, pinned: task.pinned, at }]
      const removal = removalOf(task)
      return removal ? [{ op: removal === 'video' ? 'forgetVideo' : removal, jobId, at }] : []
    }
    case 'videoDeleted':
      return [{ op: 'forgetVideo', jobId, at }]
    case 'videoLost':
      return [{ op: 'loseVideo', jobId, loss: outcome.loss, at }]
    case 'videoFound':
      return [{ op: 'findVideo', jobId, at }]
    case 'kept':
      return [{ op: 'keepVideo', jobId, at }]
    case 'failed':
      if (outcome.filename === undefined) return []
      return [{ op: outcome.isVideoDeleted ? 'forgetVideo' : 'keepVideo', jobId, at }]
    // On a full disk it could not be announced before.
    case 'unconfirmed':
      return [{ op: 'announceRemoval', jobId, removal: outcome.removal, at }]
    case 'skipped':
    case 'refused':
      return []
  }
}

function removalOf(task: Task): Removal | undefined {
  switch (task.do) {
    case 'deleteVideo':
      return 'video'
    case 'remove':
    case 'expire':
      return task.do
    case 'completeRemoval':
      return task.removal
    case 'pin':
    case 'compare':
      return undefined
  }
}

/** Files are deleted or announced as such, so the commit must be tried until it succeeds. */
export const mustBeWritten = ({ tasks, outcomes }: DoneShare): boolean =>
  pairs(tasks, outcomes).some(([task, outcome]) => {
    if (outcome.how === 'failed') return outcome.filename !== undefined
    return removalOf(task) !== undefined && !['skipped', 'refused'].includes(outcome.how)
  })

/** Removals stay announced that may be completed without an event that says so. A machine that is away joins again. */
export const isUncertain = ({ request: { command }, outcomes }: DoneShare): boolean =>
  outcomes.some(
    (outcome) =>
      outcome.how === 'unconfirmed' ||
      (command.type === 'completeRemovals' && outcome.how === 'failed' && !isAway(outcome.error)),
  )

const isAway = (error: unknown): boolean =>
  error instanceof RefusalError && error.code === 'node_away'

/** The janitor logs expired jobs, all together. */
export function logsOf({
  request: { command },
  tasks,
  outcomes,
}: DoneShare): readonly ArchiveEffect[] {
  const cause = 'requestId' in command ? causeOf(command) : {}
  const lost: LostVideo[] = []
  const failed: unknown[] = []
  const unconfirmed: unknown[] = []
  const effects: ArchiveEffect[] = []
  for (const [task, outcome] of pairs(tasks, outcomes)) {
    const { jobId } = task
    if (outcome.how === 'videoLost') lost.push({ jobId, loss: outcome.loss })
    if (outcome.how === 'failed' && outcome.filename !== undefined) failed.push(outcome.error)
    if (outcome.how === 'unconfirmed') unconfirmed.push(outcome.error)
    const change = changeOf(task, outcome)
    if (change) effects.push({ do: 'logChange', jobId, change, ...cause })
  }
  if (lost.length > 0) effects.push({ do: 'logLost', lost })
  // The senders of other commands receive the error.
  if (failed.length > 0 && command.type === 'deleteVideos') {
    effects.push({ do: 'logKept', count: failed.length, error: failed[0] })
  }
  if (unconfirmed.length > 0) {
    effects.push({ do: 'logUnconfirmed', count: unconfirmed.length, error: unconfirmed[0] })
  }
  return effects
}

function changeOf(task: Task, { how }: TaskOutcome): RecordChange | undefined {
  if (how === 'videoFound') return 'video found'
  if (how !== 'done' && how !== 'videoDeleted') return undefined
  if (task.do === 'pin') return task.pinned ? 'pinned' : 'unpinned'
  if (task.do === 'expire') return undefined
  return removalOf(task) === 'video' ? 'video deleted' : 'deleted'
}

export function answerTo(
  { command, tasks, outcomes }: Request,
  queue: QueueSnapshot | undefined,
): readonly ArchiveEffect[] {
  switch (command.type) {
    case 'forgetTombstones':
    case 'compareFiles':
    case 'completeRemovals':
      return []
    case 'expire': {
      const failed = outcomes.find(({ how }) => how === 'failed' || how === 'unconfirmed')
      const gone = pairs(tasks, outcomes).flatMap(([{ jobId }, { how }]) =>
        how === 'done' ? [jobId] : [],
      )
      return [
        answer(command.replyTo, {
          gone,
          ...(failed && 'error' in failed && { error: failed.error }),
        }),
      ]
    }
    case 'deleteVideos': {
      const failed = storeFailureIn(outcomes)
      return failed?.how === 'failed'
        ? [answerFailed(command.replyTo, 'the videos could not be deleted', failed.error)]
        : [answer(command.replyTo, deletionAnswer(tasks, outcomes))]
    }
    case 'pin':
    case 'remove':
      return [answerToOne(command, outcomes[0], queue)]
  }
}

/** A video whose file was missing already is in neither list: there was nothing to delete. */
function deletionAnswer(tasks: readonly Task[], outcomes: readonly TaskOutcome[]): DeletionAnswer {
  const all = pairs(tasks, outcomes)
  return {
    deleted: all.flatMap(([{ jobId }, outcome]) =>
      outcome.how === 'videoDeleted' ? [{ jobId, filename: outcome.filename }] : [],
    ),
    kept: all.flatMap(([{ jobId }, outcome]): KeptVideo[] => {
      if (outcome.how === 'failed') {
        const { error, filename = '' } = outcome
        return [{ jobId, filename, why: whyNotDeleted(error) }]
      }
      if (outcome.how !== 'videoLost' || outcome.loss !== 'replaced') return []
      const { filename } = outcome
      return [{ jobId, filename, why: 'Another file has this name now. It was not deleted.' }]
    }),
    unconfirmed: all.flatMap(([{ jobId }, outcome]) =>
      outcome.how === 'unconfirmed' ? [{ jobId, filename: outcome.filename }] : [],
    ),
  }
}

/** The code alone: the message of a system error has the path in it. */
function whyNotDeleted(error: unknown): string {
  if (error instanceof RefusalError) return error.message
  const { code } = error as { code?: unknown }
  const why = typeof code === 'string' ? ` (${code})` : ''
  return `The file could not be deleted${why}. Try again when the administrator has checked RESULTS_DIR.`
}

function answerToOne(
  command: Extract<ArchiveCommand, { type: 'pin' | 'remove' }>,
  outcome: TaskOutcome | undefined,
  queue: QueueSnapshot | undefined,
): ArchiveEffect {
  if (outcome?.how === 'refused') return answer<RefusalError>(command.replyTo, outcome.refusal)
  if (outcome?.how === 'failed') {
    if (outcome.error instanceof RefusalError) {
      return answer<RefusalError>(command.replyTo, outcome.error)
    }
    return answerFailed(command.replyTo, 'the job could not be changed', outcome.error)
  }
  if (outcome?.how === 'unconfirmed') return answer<RefusalError>(command.replyTo, unconfirmed)
  if (command.type === 'remove') return answer(command.replyTo, 'removed')
  const { jobId, scope, replyTo } = command
  return { do: 'answerPinned', jobId, scope, replyTo, queue }
}

const unconfirmed = new RefusalError(
  'node_away',
  'The machine with the video did not answer. Nobody knows yet whether the video is deleted. Try again.',
)

/** Rejects the question of the sender. */
export const giveUp = ({ command }: Request, error: Error): readonly ArchiveEffect[] =>
  'replyTo' in command ? [answerFailed(command.replyTo, 'the store could not write', error)] : []

const pairs = (
  tasks: readonly Task[],
  outcomes: readonly TaskOutcome[],
): (readonly [Task, TaskOutcome])[] =>
  tasks.flatMap((task, index) => {
    const outcome = outcomes[index]
    return outcome ? [[task, outcome] as const] : []
  })
