/** The archive's work on files, which precedes the change of their records. */
import type { Scope } from '../../domain/client.ts'
import { hasExpired, jobNotFound, RefusalError } from '../../domain/errors.ts'
import { hasFile, type Job, type JobId, type Removal } from '../../domain/job.ts'
import { fileOf, isSuccessful, mayHaveFile } from '../../domain/video-file.ts'
import {
  type ArchiveOperation,
  type ArchiveStore,
  type FileFinding,
  type JobFiles,
  UnconfirmedRemovalError,
  type VideoFiles,
} from './archive-ports.ts'
import type { Task, TaskOutcome } from './archive-protocol.ts'
import { surveyPage } from './archive-survey.ts'
import { lossOf, mayExpire, refuseRemoval } from './removal-rules.ts'

export type ArchiveWorkOptions = Readonly<{
  store: Pick<
    ArchiveStore,
    'commit' | 'find' | 'findExpired' | 'isAwaited' | 'announcedRemovals' | 'recordedFiles'
  >
  videoFiles: VideoFiles
  jobFiles: JobFiles
}>

export type ArchiveWork = ReturnType<typeof createArchiveWork>

/** A removal that nothing speaks against, before anything is deleted. */
type Plan = Readonly<{ job: Job; removal: Removal }>

/**
 * Shared by all incarnations of the archive: one step or one commit at a time. Otherwise a previous
 * incarnation could delete a file whose name has been given to a new job in the meantime.
 */
export function createArchiveWork({ store, videoFiles, jobFiles }: ArchiveWorkOptions) {
  let last: Promise<unknown> = Promise.resolve()

  return {
    /**
     * One outcome per task. Never rejects. No file is touched once `signal` is aborted. Removals of
     * files are announced in the store first: after a crash the next run knows which files may be gone.
     */
    carryOut: (
      tasks: readonly Task[],
      at: number,
      signal: AbortSignal,
    ): Promise<readonly TaskOutcome[]> =>
      inTurn(async () => {
        const plans: (Plan | TaskOutcome)[] = []
        for (const task of tasks) plans.push(await orFailed(() => plan(task)))
        const error = await announce(plans.filter(isPlan), at)
        const outcomes: TaskOutcome[] = []
        for (const planned of plans) {
          if (!isPlan(planned)) outcomes.push(planned)
          else if (error) outcomes.push({ how: 'failed', error })
          else outcomes.push(await orUnconfirmed(planned, () => removeFiles(planned, signal)))
        }
        return outcomes
      }),

    commit: (operations: readonly ArchiveOperation[]) => inTurn(() => store.commit(operations)),

    announcedRemovals: () => inTurn(() => store.announcedRemovals()),

    survey: (afterSeq: number) => surveyPage({ store, videoFiles }, afterSeq),

    find,
  }

  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = last.then(work)
    last = turn.catch(() => {})
    return turn
  }

  /** The reads of a task: its outcome, or the removal that it asks for. */
  async function plan(task: Task): Promise<Plan | TaskOutcome> {
    const { jobId } = task
    switch (task.do) {
      case 'pin': {
        const job = await find(jobId, task.scope)
        return job instanceof RefusalError ? { how: 'refused', refusal: job } : { how: 'done' }
      }
      case 'remove': {
        const job = await find(jobId, task.scope)
        const refusal = job instanceof RefusalError ? job : refuseRemoval(job)
        if (refusal) return { how: 'refused', refusal }
        return job instanceof RefusalError ? { how: 'skipped' } : { job, removal: 'remove' }
      }
      case 'compare':
        return compare(await store.find(jobId, 'everything'))
      case 'completeRemoval':
        return complete(await store.find(jobId, 'everything'), task.removal)
      // The next two were chosen some time ago, so their jobs are read again: the file may be deleted,
      // and its name may belong to another job by now.
      case 'deleteVideo': {
        const job = await store.find(jobId, 'everything')
        return job && (mayHaveFile(job) || isBeingRemoved(job))
          ? { job, removal: 'video' }
          : { how: 'skipped' }
      }
      case 'expire': {
        const job = await store.find(jobId, 'everything')
        if (!job || !mayExpire(job, await store.isAwaited(jobId)) || isInUse(job)) {
          return { how: 'skipped' }
        }
        return { job, removal: 'expire' }
      }
    }
  }

  /** The reason why nothing may be deleted. A full disk is none: a deletion is what makes room. */
  async function announce(plans: readonly Plan[], at: number): Promise<unknown> {
    const operations = plans
      .filter(({ job }) => hasFile(job))
      .map(({ job: { id: jobId }, removal }): ArchiveOperation => {
        return { op: 'announceRemoval', jobId, removal, at }
      })
    if (operations.length === 0) return undefined
    try {
      const result = await store.commit(operations)
      if (result.how === 'stale') return new Error(result.why)
      return result.how === 'locked' || result.how === 'unreachable' ? result.error : undefined
    } catch (error) {
      return error
    }
  }

  /** The video first: as long as it is there, nothing of the job has been deleted. */
  async function removeFiles({ job, removal }: Plan, signal: AbortSignal): Promise<TaskOutcome> {
    // Others of its group were removed first: somebody may want it by now.
    const isWanted = removal === 'expire' && (isInUse(job) || (await store.isAwaited(job.id)))
    signal.throwIfAborted()
    if (isWanted) return { how: 'kept' }
    const finding = await removeVideo(job)
    if (removal === 'video') return outcomeOf(job, finding)
    try {
      await jobFiles.forget(job.id)
      return { how: 'done' }
    } catch (error) {
      return { how: 'failed', error, ...nameOf(job), isVideoDeleted: true }
    }
  }

  /** A file that was deleted on request is not looked for: its name may belong to another job. */
  async function removeVideo(job: Job): Promise<FileFinding> {
    if (!isSuccessful(job)) return 'missing'
    const { fileDeletedAt, fileLost } = job.state
    if (fileDeletedAt !== undefined && fileLost === undefined) return 'missing'
    const file = fileOf(job)
    try {
      return await videoFiles.remove(file)
    } catch (error) {
      if (!(error instanceof UnconfirmedRemovalError)) throw error
      const left = await videoFiles.find(file).catch(() => 'unknown' as const)
      if (left === 'unknown') throw error
      if (left !== 'missing') throw error.cause ?? error
      return 'own'
    }
  }

  function outcomeOf(job: Job, finding: FileFinding): TaskOutcome {
    if (!isSuccessful(job)) return { how: 'skipped' }
    const { filename } = job.state
    const isDeleted =
      finding === 'own' ||
      finding === 'changed' ||
      (finding === 'missing' && job.state.removing !== undefined)
    return isDeleted
      ? { how: 'videoDeleted', filename }
      : { how: 'videoLost', filename, loss: lossOf(finding) }
  }

  /** Of a crash in between, only the files can tell how far it had come. */
  async function complete(job: Job | undefined, removal: Removal): Promise<TaskOutcome> {
    if (!job || !isSuccessful(job) || !job.state.removing) return { how: 'skipped' }
    if ((await videoFiles.find(fileOf(job))) !== 'missing') return { how: 'kept' }
    if (removal === 'expire' && !mayExpire(job, await store.isAwaited(job.id))) {
      return { how: 'videoDeleted', filename: job.state.filename }
    }
    if (removal !== 'video') await jobFiles.forget(job.id)
    return { how: 'done' }
  }

  async function compare(job: Job | undefined): Promise<TaskOutcome> {
    if (!job || !isSuccessful(job)) return { how: 'skipped' }
    const { filename, fileLost } = job.state
    if (!hasFile(job) && fileLost === undefined) return { how: 'skipped' }
    const finding = await videoFiles.find(fileOf(job))
    if (finding === 'own')
      return fileLost === undefined ? { how: 'skipped' } : { how: 'videoFound' }
    const loss = lossOf(finding)
    return loss === fileLost ? { how: 'skipped' } : { how: 'videoLost', filename, loss }
  }

  function isInUse(job: Job): boolean {
    return isSuccessful(job) && videoFiles.isInUse(job.state.filename)
  }

  /** The job, or why there is none. */
  async function find(jobId: JobId, scope: Scope): Promise<Job | RefusalError> {
    const job = await store.find(jobId, scope)
    if (job) return job
    const expired = await store.findExpired({ jobId }, scope)
    return expired ? hasExpired(expired) : jobNotFound(jobId)
  }
}

const isPlan = (planned: Plan | TaskOutcome): planned is Plan => 'job' in planned

/** Its machine has not confirmed an earlier removal. */
const isBeingRemoved = (job: Job): boolean => isSuccessful(job) && job.state.removing !== undefined

const nameOf = (job: Job): { filename?: string } =>
  isSuccessful(job) ? { filename: job.state.filename } : {}

async function orUnconfirmed(
  { job, removal }: Plan,
  work: () => Promise<TaskOutcome>,
): Promise<TaskOutcome> {
  const outcome = await orFailed(work, nameOf(job))
  if (outcome.how !== 'failed' || !isSuccessful(job)) return outcome
  const { error } = outcome
  if (!(error instanceof UnconfirmedRemovalError)) return outcome
  return { how: 'unconfirmed', error: error.cause ?? error, filename: job.state.filename, removal }
}

async function orFailed<Result>(
  work: () => Promise<Result>,
  details: { filename?: string } = {},
): Promise<Result | Extract<TaskOutcome, { how: 'failed' }>> {
  try {
    return await work()
  } catch (error) {
    return { how: 'failed', error, ...details }
  }
}
