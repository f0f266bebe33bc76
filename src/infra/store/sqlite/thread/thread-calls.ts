/** Whole transactions that the database thread carries out: one message and one answer each. */
import type { GpuId } from '../../../../domain/job.ts'
import { createReserve } from '../../../disk/reserve.ts'
import { createEtaStore } from '../../eta-store.ts'
import type { OpenDatabase } from '../database.ts'
import { createJobStore } from '../sqlite-job-store.ts'

export type ThreadSettings = Readonly<{
  path: string
  /** There are files of earlier jobs: an empty database cannot be the one that knows them. */
  mustHaveJobs: boolean
  reserve: string
  backupsDir: string
  task: string
  gpuModels: ReadonlyMap<GpuId, string | undefined>
}>

export type ThreadCalls = ReturnType<typeof createThreadCalls>

export function createThreadCalls(
  { db, check }: Pick<OpenDatabase, 'db' | 'check'>,
  { reserve, task, gpuModels }: Pick<ThreadSettings, 'reserve' | 'task' | 'gpuModels'>,
) {
  const jobs = createJobStore(db, { reserve: createReserve(reserve), context: { task, gpuModels } })
  const { record } = createEtaStore(db, { task })

  return {
    /** Errors are thrown, because a result cannot carry them to the other thread. */
    async commit(operations: Parameters<typeof jobs.commit>[0]) {
      const result = await jobs.commit(operations)
      if ('error' in result) throw result.error
      return result
    },
    record,
    check,
    /** Ends after all calls before it. */
    async pass() {},
  }
}
