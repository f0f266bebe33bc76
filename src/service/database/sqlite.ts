import { realpathSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { watchFiles } from '../../infra/disk/file-watch.ts'
import { lockDatabase } from '../../infra/disk/lock.ts'
import { startDatabase } from '../../infra/store/sqlite/thread/start-database.ts'
import { createBackups } from '../../infra/upkeep/backups.ts'
import { hasFilesOfJobs } from '../../infra/upkeep/earlier-jobs.ts'
import type { DatabaseOptions, ServiceDatabase } from './service-database.ts'

/** A file of its own, which it locks and watches. */
export async function openSqlite({
  config,
  gpuModels,
  reserve,
  lockPath,
  onLost,
}: DatabaseOptions): Promise<ServiceDatabase> {
  const { data, wan, backupsDir } = config
  const { stateDb } = data
  await using opening = new AsyncDisposableStack()
  const ownLock = opening.adopt(lockDatabase(stateDb, reserve.release), ({ release }) => release())
  const settings = {
    path: stateDb,
    mustHaveJobs: await hasFilesOfJobs(data, backupsDir),
    reserve: config.reserve,
    backupsDir,
    task: wan.task,
    gpuModels,
  }
  const database = opening.adopt(
    await startDatabase(settings, ({ message }) => onLost(message)),
    (started) => started.close(),
  )
  const file = realpathSync(stateDb)
  opening.use(watchFiles([lockPath, ownLock.path, stateDb, `${file}-wal`, `${file}-shm`], onLost))
  const { db, jobs, eta, check } = database
  const opened = opening.move()
  return {
    db,
    jobs: { queue: jobs, archive: jobs },
    eta,
    check,
    async bytes() {
      const files = [stat(stateDb), stat(`${stateDb}-wal`).catch(() => ({ size: 0 }))]
      return (await Promise.all(files)).reduce((sum, { size }) => sum + size, 0)
    },
    backups: createBackups(backupsDir, database),
    close: () => opened.disposeAsync(),
  }
}
