import { dirname } from 'node:path'
import { type DiskPlace, diskPlaces, type Housekeeping } from '../actors/ports.ts'
import type { Backups } from './backups.ts'
import type { DataDirectory } from './data-directory.ts'
import { freeBytes } from './free-space.ts'
import type { Reserve } from './reserve.ts'

export type HousekeepingOptions = Readonly<{
  data: DataDirectory
  backups: Backups
  reserve: Reserve
}>

/** The disks we write to, the reserve on that of the database, and its backups. */
export function createHousekeeping({ data, backups, reserve }: HousekeepingOptions): Housekeeping {
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
          return { place, path, freeBytes: await freeBytes(path) }
        }),
      ),
    backUp: (day) => backups.daily(day),
    restoreReserve: () => reserve.restore(),
  }
}
