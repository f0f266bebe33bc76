import { opendir, readdir, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import * as v from 'valibot'
import type { Housekeeping } from '../../actors/janitor/janitor-ports.ts'
import { type DiskPlace, diskPlaces } from '../../domain/disk.ts'
import { JobId, type Timestamp } from '../../domain/job.ts'
import { type DataDirectory, logOf } from '../disk/data-directory.ts'
import { freeSpace } from '../disk/free-space.ts'
import type { Reserve } from '../disk/reserve.ts'
import type { Backups } from './backups.ts'

export type HousekeepingOptions = Readonly<{
  data: DataDirectory
  /** Absent: the database is not ours to back up. */
  backups?: Backups | undefined
  reserve: Reserve
  archiveDir: string
  /** Which of these jobs there are. */
  known(jobIds: readonly JobId[]): Promise<ReadonlySet<JobId>>
}>

/** The disks we write to, the reserve on that of the database, and its backups. */
export function createHousekeeping({
  data,
  backups,
  reserve,
  archiveDir,
  known,
}: HousekeepingOptions): Housekeeping {
  const { workDir, resultsDir, logsDir, stateDb } = data
  const paths: Readonly<Record<DiskPlace, string>> = {
    work: workDir,
    results: resultsDir,
    logs: logsDir,
    database: dirname(stateDb),
  }
  return {
    measure: () =>
      Promise.all(
        diskPlaces.map(async (place) => {
          const path = paths[place]
          return { place, path, ...(await freeSpace(path)) }
        }),
      ),
    backUp: async (day, mayPrune) => backups?.daily(day, mayPrune),
    restoreReserve: () => reserve.restore(),
    async removeLeftOvers(before) {
      for (const name of await namesIn(archiveDir)) {
        const path = join(archiveDir, name)
        if (await isOlder(path, before)) await rm(path, { recursive: true, force: true })
      }
      let old: JobId[] = []
      for await (const { name } of await opendir(logsDir)) {
        const jobId = jobOfLog(name)
        if (!jobId || !(await isOlder(join(logsDir, name), before))) continue
        old.push(jobId)
        if (old.length < askedAtOnce) continue
        await removeUnknown(old)
        old = []
      }
      await removeUnknown(old)
    },
  }

  /** Videos that nobody knows stay: a restored backup may not know what was made after it. */
  async function removeUnknown(jobIds: readonly JobId[]): Promise<void> {
    const jobs = await known(jobIds)
    for (const jobId of jobIds) if (!jobs.has(jobId)) await rm(logOf(data, jobId), { force: true })
  }
}

const askedAtOnce = 100

/** Other files there may be somebody else's. */
function jobOfLog(name: string): JobId | undefined {
  const jobId = v.safeParse(JobId, name.replace(/\.log$/, ''))
  return jobId.success && name === `${jobId.output}.log` ? jobId.output : undefined
}

const isOlder = (path: string, before: Timestamp): Promise<boolean> =>
  stat(path).then(
    ({ mtimeMs }) => mtimeMs < before,
    () => false,
  )

/** None where there never was one. */
const namesIn = (directory: string): Promise<string[]> => readdir(directory).catch(() => [])
