import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sql } from 'kysely'
import type { Migration } from 'kysely/migration'
import { describe, expect, it } from 'vitest'
import { migrateToLatest } from '../../../src/infra/store/migrate.ts'
import { migrations } from '../../../src/infra/store/migrations/index.ts'
import { createBackups } from '../../../src/infra/upkeep/backups.ts'
import { jobsIn, useSqliteFile } from '../../support/store/sqlite-file.ts'

const file = useSqliteFile()

describe('backups', () => {
  const kept = () => readdirSync(file.inDirectory('backups')).sort()
  const aBackupsDirectory = (backup = async (to: string) => writeFileSync(to, '')) =>
    createBackups(file.inDirectory('backups'), { backup })

  it('are made once a day', async () => {
    const made: string[] = []
    const backups = aBackupsDirectory(async (to) => {
      made.push(to)
      writeFileSync(to, '')
    })
    for (const day of ['2026-07-30', '2026-07-30', '2026-07-31']) await backups.daily(day)
    expect(made).toHaveLength(2)
    expect(kept()).toEqual(['state-2026-07-30.db', 'state-2026-07-31.db'])
  })

  it('are the seven newest, and leave alone what is none', async () => {
    const backups = aBackupsDirectory()
    await backups.daily('2026-07-01')
    for (const name of ['notes.txt', 'state-mine.db', 'state-2026-06-01.db.unfinished']) {
      writeFileSync(join(file.directory, 'backups', name), '')
    }
    for (let day = 2; day <= 10; day++) {
      await backups.daily(`2026-07-${String(day).padStart(2, '0')}`)
    }
    const days = ['04', '05', '06', '07', '08', '09', '10'].map((day) => `state-2026-07-${day}.db`)
    expect(kept()).toEqual(['notes.txt', ...days, 'state-mine.db'])
  })

  it('of days to come are deleted first, once the clock that was ahead is right again', async () => {
    const backups = aBackupsDirectory()
    for (const day of ['2026-07-01', '2026-07-02', '2026-07-03']) await backups.daily(day)
    for (const day of ['2030-01-01', '2030-01-02', '2031-05-05', '2031-05-06'])
      await backups.daily(day)
    for (let day = 4; day <= 10; day++) {
      const today = `2026-07-${String(day).padStart(2, '0')}`
      await backups.daily(today)
      expect(kept()).toContain(`state-${today}.db`)
    }
    const days = ['04', '05', '06', '07', '08', '09', '10'].map((day) => `state-2026-07-${day}.db`)
    expect(kept()).toEqual(days)
  })

  it('are all kept while none may be deleted', async () => {
    const backups = aBackupsDirectory()
    for (let day = 1; day <= 9; day++) await backups.daily(`2026-07-0${day}`, false)
    expect(kept()).toHaveLength(9)
    await backups.daily('2026-07-10')
    expect(kept()).toHaveLength(7)
  })

  it('keep the older ones when a new one fails', async () => {
    for (let day = 1; day <= 7; day++) await aBackupsDirectory().daily(`2026-07-0${day}`)
    const failing = aBackupsDirectory(async () => {
      throw new Error('no')
    })
    await expect(failing.daily('2026-07-08')).rejects.toThrow('no')
    expect(kept()).toHaveLength(7)
  })

  it('are made before a migration changes what is there', async () => {
    const database = await file.holding(3, { leaveOpen: true })
    const backups = createBackups(file.inDirectory('backups'), database)
    await migrateToLatest(database.db, backups.beforeMigration, withOneMore)
    expect(await jobsIn(database)).toBe(0)
    expect(kept()).toEqual([
      expect.stringMatching(/^state-\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_before-900-lose-all\.db$/),
    ])
    expect(await jobsIn(file.open(join(file.directory, 'backups', kept()[0] ?? '')))).toBe(3)
  })

  it('are not made of a new database, nor when there is nothing to migrate', async () => {
    const database = file.open()
    const before: string[] = []
    const note = async (name: string) => void before.push(name)
    await migrateToLatest(database.db, note)
    await migrateToLatest(database.db, note)
    expect(before).toEqual([])
  })

  it('that fail keep the migration from happening', async () => {
    const database = await file.holding(3, { leaveOpen: true })
    const fail = async () => {
      throw new Error('no room')
    }
    await expect(migrateToLatest(database.db, fail, withOneMore)).rejects.toThrow('no room')
    expect(await jobsIn(database)).toBe(3)
  })
})

/** What an upgrade may bring, at its worst. */
const withOneMore: Record<string, Migration> = {
  ...migrations,
  '900-lose-all': { up: async (db) => void (await sql`delete from job`.execute(db)) },
}
