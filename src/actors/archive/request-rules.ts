/** The tasks of a command, the changes that follow from them, and its answer. */
import { causeOf } from '../../domain/client.ts'
import type { RefusalError } from '../../domain/errors.ts'
import type { JobId, Timestamp } from '../../domain/job.ts'
import { answer, answerFailed } from '../actor.ts'
import type { QueueSnapshot } from '../queue/queue-state.ts'
import type { ArchiveEffect } from './archive-effects.ts'
import type { ArchiveOperation } from './archive-ports.ts'
import type { ArchiveCommand, DeleteVideos, Task, TaskOutcome } from './archive-protocol.ts'
import type { DoneShare, Request } from './archive-state.ts'

export const requestOf = (command: Exclude<ArchiveCommand, DeleteVideos>): Request => ({
  command,
  tasks: tasksOf(command),
  outcomes: [],
})

export const deletionOf = (command: DeleteVideos, jobIds: readonly JobId[]): Request => ({
  command,
  tasks: jobIds.map((jobId) => ({ do: 'deleteVideo', jobId })),
  outcomes: [],
})

function tasksOf(command: Exclude<ArchiveCommand, DeleteVideos>): readonly Task[] {
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
    case 'forgetTombstones':
      return []
  }
}

/** All tasks are carried out, or a file could not be deleted. */
export const isFinished = ({ command, tasks, outcomes }: Request): boolean =>
  outcomes.length === tasks.length ||
  (command.type === 'deleteVideos' && outcomes.some(({ how }) => how === 'failed'))

export function operationsOf(
  { request: { command }, tasks, outcomes }: DoneShare,
  at: Timestamp,
): readonly ArchiveOperation[] {
  if (command.type === 'forgetTombstones') {
    return [{ op: 'forgetTombstones', before: command.before }]
  }
  return changed(tasks, outcomes).map((task) => operationOf(task, at))
}

function operationOf(task: Task, at: Timestamp): ArchiveOperation {
  const { jobId } = task
  switch (task.do) {
    case 'pin':
      return { op: 'pin', jobId, pinned: task.pinned, at }
    case 'deleteVideo':
      return { op: 'forgetVideo', jobId, at }
    case 'remove':
    case 'expire':
      return { op: task.do, jobId, at }
  }
}

/** Files are deleted, so the commit must be tried until it succeeds. */
export const hasDeleted = ({ tasks, outcomes }: DoneShare): boolean =>
  changed(tasks, outcomes).some((task) => task.do !== 'pin')

/** The janitor logs expired jobs, all together. */
export const logsOf = ({ request: { command }, tasks, outcomes }: DoneShare): ArchiveEffect[] =>
  changed(tasks, outcomes).flatMap((task): ArchiveEffect[] => {
    if (task.do === 'expire') return []
    const cause = 'requestId' in command ? causeOf(command) : {}
    return [{ do: 'logChange', jobId: task.jobId, change: changeOf(task), ...cause }]
  })

function changeOf(task: Exclude<Task, { do: 'expire' }>) {
  switch (task.do) {
    case 'pin':
      return task.pinned ? 'pinned' : 'unpinned'
    case 'deleteVideo':
      return 'video deleted'
    default:
      return 'deleted'
  }
}

export function answerTo(
  { command, tasks, outcomes }: Request,
  queue: QueueSnapshot | undefined,
): readonly ArchiveEffect[] {
  const failed = outcomes.find((outcome) => outcome.how === 'failed')
  switch (command.type) {
    case 'forgetTombstones':
      return []
    case 'expire': {
      const gone = changed(tasks, outcomes).map(({ jobId }) => jobId)
      return [answer(command.replyTo, { gone, ...(failed && { error: failed.error }) })]
    }
    case 'deleteVideos': {
      if (failed) {
        return [answerFailed(command.replyTo, 'the files could not be removed', failed.error)]
      }
      const videos = tasks.flatMap(({ jobId }, index) => {
        const outcome = outcomes[index]
        return outcome?.how === 'videoDeleted' ? [{ jobId, filename: outcome.filename }] : []
      })
      return [answer(command.replyTo, videos)]
    }
    case 'pin':
    case 'remove':
      return [answerToOne(command, outcomes[0], queue)]
  }
}

function answerToOne(
  command: Extract<ArchiveCommand, { type: 'pin' | 'remove' }>,
  outcome: TaskOutcome | undefined,
  queue: QueueSnapshot | undefined,
): ArchiveEffect {
  if (outcome?.how === 'refused') return answer<RefusalError>(command.replyTo, outcome.refusal)
  if (outcome?.how === 'failed') {
    return answerFailed(command.replyTo, 'the job could not be changed', outcome.error)
  }
  if (command.type === 'remove') return answer(command.replyTo, 'removed')
  const { jobId, scope, replyTo } = command
  return { do: 'answerPinned', jobId, scope, replyTo, queue }
}

/** Rejects the question of the sender. */
export const giveUp = ({ command }: Request, error: Error): readonly ArchiveEffect[] =>
  'replyTo' in command ? [answerFailed(command.replyTo, 'the store could not write', error)] : []

const changed = (tasks: readonly Task[], outcomes: readonly TaskOutcome[]): readonly Task[] =>
  tasks.filter((_, index) => {
    const how = outcomes[index]?.how
    return how === 'done' || how === 'videoDeleted'
  })
