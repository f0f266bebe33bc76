/** The archive's work on files, which precedes the change of their records. */
import type { Scope } from '../../domain/client.ts'
import { hasExpired, jobNotFound, RefusalError } from '../../domain/errors.ts'
import { hasFile, type Job, type JobId } from '../../domain/job.ts'
import type { ArchiveOperation, ArchiveStore, JobFiles, VideoFiles } from './archive-ports.ts'
import type { Task, TaskOutcome } from './archive-protocol.ts'
import { mayExpire, refuseRemoval } from './removal-rules.ts'

export type ArchiveWorkOptions = Readonly<{
  store: Pick<ArchiveStore, 'commit' | 'find' | 'findExpired' | 'isAwaited'>
  videoFiles: VideoFiles
  jobFiles: JobFiles
}>

export type ArchiveWork = ReturnType<typeof createArchiveWork>

/**
 * Shared by all incarnations of the archive: one step or one commit at a time. Otherwise a previous
 * incarnation could delete a file whose name has been given to a new job in the meantime.
 */
export function createArchiveWork({ store, videoFiles, jobFiles }: ArchiveWorkOptions) {
  let last: Promise<unknown> = Promise.resolve()

  return {
    /** One outcome per task. Never rejects. No file is touched once `signal` is aborted. */
    carryOut: (tasks: readonly Task[], signal: AbortSignal): Promise<readonly TaskOutcome[]> =>
      inTurn(async () => {
        const outcomes: TaskOutcome[] = []
        for (const task of tasks) outcomes.push(await carryOut(task, signal))
        return outcomes
      }),

    commit: (operations: readonly ArchiveOperation[]) => inTurn(() => store.commit(operations)),

    find,
  }

  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = last.then(work)
    last = turn.catch(() => {})
    return turn
  }

  async function carryOut(task: Task, signal: AbortSignal): Promise<TaskOutcome> {
    try {
      switch (task.do) {
        case 'pin': {
          const job = await find(task.jobId, task.scope)
          return job instanceof RefusalError ? { how: 'refused', refusal: job } : { how: 'done' }
        }
        case 'remove':
          return await remove(await find(task.jobId, task.scope), signal)
        case 'expire':
          return await expire(task.jobId, signal)
        case 'deleteVideo':
          return await deleteVideo(task.jobId, signal)
      }
    } catch (error) {
      return { how: 'failed', error }
    }
  }

  /** Files are deleted before the record: after a crash in between, the job can be deleted again. */
  async function remove(job: Job | RefusalError, signal: AbortSignal): Promise<TaskOutcome> {
    const refusal = job instanceof RefusalError ? job : refuseRemoval(job)
    if (refusal) return { how: 'refused', refusal }
    if (!(job instanceof RefusalError)) await removeFiles(job, signal)
    return { how: 'done' }
  }

  /** The janitor chose the job some time ago, so the job is checked again before its files are deleted. */
  async function expire(jobId: JobId, signal: AbortSignal): Promise<TaskOutcome> {
    const job = await store.find(jobId, 'everything')
    if (!job || !mayExpire(job, await store.isAwaited(jobId))) return { how: 'skipped' }
    if (hasFile(job) && videoFiles.isInUse(job.state.filename)) return { how: 'skipped' }
    await removeFiles(job, signal)
    return { how: 'done' }
  }

  /** Reads the job again: its file may be deleted, and the name may belong to another job by now. */
  async function deleteVideo(jobId: JobId, signal: AbortSignal): Promise<TaskOutcome> {
    const job = await store.find(jobId, 'everything')
    if (!job || !hasFile(job)) return { how: 'skipped' }
    const { filename } = job.state
    signal.throwIfAborted()
    await videoFiles.remove({ jobId, filename })
    return { how: 'videoDeleted', filename }
  }

  async function removeFiles(job: Job, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (hasFile(job)) await videoFiles.remove({ jobId: job.id, filename: job.state.filename })
    await jobFiles.forget(job.id)
  }

  /** The job, or why there is none. */
  async function find(jobId: JobId, scope: Scope): Promise<Job | RefusalError> {
    const job = await store.find(jobId, scope)
    if (job) return job
    const expired = await store.findExpired({ jobId }, scope)
    return expired ? hasExpired(expired) : jobNotFound(jobId)
  }
}
