/** Copies of the database, kept for the day it is needed. */
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'

export type Backups = {
  /** Of this day (`2026-07-31`), unless there is one. `mayPrune`: the oldest may be deleted. */
  daily(day: string, mayPrune?: boolean): Promise<void>
  /** Before a migration changes what an older version of the service could not read any more. */
  beforeMigration(name: string): Promise<void>
}

const kept = 7

/** How backups are called: sorted by name, they are sorted by age. */
const backupName = /^state-\d{4}-\d{2}-\d{2}.*\.db$/

export function createBackups(
  directory: string,
  { backup }: { backup(to: string): Promise<void> },
): Backups {
  return {
    async daily(day, mayPrune = true) {
      const name = `state-${day}.db`
      if ((await backupsIn(directory)).includes(name)) return
      await make(name)
      if (mayPrune) await prune(day)
    },

    async beforeMigration(migration) {
      const [day = '', time] = new Date().toISOString().slice(0, 19).split('T')
      await make(`state-${day}_${time?.replaceAll(':', '-')}_before-${migration}.db`)
      await prune(day)
    },
  }

  async function make(name: string): Promise<void> {
    await mkdir(directory, { recursive: true })
    // What is left of a backup that was cut off by the end of the service.
    for (const other of await readdir(directory)) {
      if (other.includes('.unfinished')) await rm(join(directory, other), { force: true })
    }
    await backup(join(directory, name))
  }

  /** Backups of days to come are of a clock that was ahead: they are deleted before all others. */
  async function prune(today: string): Promise<void> {
    const isAhead = (name: string) => name.slice('state-'.length, 'state-2026-07-31'.length) > today
    const names = (await backupsIn(directory)).toSorted()
    const byAge = [...names.filter(isAhead), ...names.filter((name) => !isAhead(name))]
    for (const name of byAge.slice(0, -kept)) await rm(join(directory, name), { force: true })
  }
}

export async function backupsIn(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch((error: { code?: string }) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  return names.filter((name) => backupName.test(name))
}
