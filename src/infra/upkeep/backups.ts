/** Copies of the database, kept for the day it is needed. */
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'

export type Backups = {
  /** Of this day (`2026-07-31`), unless there is one. */
  daily(day: string): Promise<void>
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
    async daily(day) {
      const name = `state-${day}.db`
      if (!(await backupsIn(directory)).includes(name)) await make(name)
    },

    async beforeMigration(migration) {
      const [day, time] = new Date().toISOString().slice(0, 19).split('T')
      await make(`state-${day}_${time?.replaceAll(':', '-')}_before-${migration}.db`)
    },
  }

  async function make(name: string): Promise<void> {
    await mkdir(directory, { recursive: true })
    await backup(join(directory, name))
    await prune()
  }

  async function prune(): Promise<void> {
    const unwanted = [
      ...(await backupsIn(directory)).toSorted().slice(0, -kept),
      // Of a backup that was cut off by the end of the service.
      ...(await readdir(directory)).filter((name) => name.includes('.unfinished')),
    ]
    for (const name of unwanted) await rm(join(directory, name), { force: true })
  }
}

export async function backupsIn(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch((error: { code?: string }) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  return names.filter((name) => backupName.test(name))
}
