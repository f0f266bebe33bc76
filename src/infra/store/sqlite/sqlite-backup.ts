import { rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import SQLite from 'better-sqlite3'
import { sync } from '../../disk/sync.ts'

/** To a temporary name first: what is called a backup is one, and not the half of it. */
export async function backUp(sqlite: SQLite.Database, to: string): Promise<void> {
  const unfinished = `${to}.unfinished`
  try {
    await rm(unfinished, { force: true })
    await sqlite.backup(unfinished)
    const copy = new SQLite(unfinished)
    try {
      copy.pragma('journal_mode = DELETE') // One file, with nothing beside it that belongs to it.
      const found = copy.pragma('quick_check(1)', { simple: true })
      if (found !== 'ok') throw new Error(`the database is damaged: ${found}`)
    } finally {
      copy.close()
    }
    await sync(unfinished)
    await rename(unfinished, to)
    await sync(dirname(to))
  } catch (error) {
    await rm(unfinished, { force: true })
    throw error
  }
}
