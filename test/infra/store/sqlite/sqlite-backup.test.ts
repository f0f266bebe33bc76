import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { sql } from 'kysely'
import { describe, expect, it } from 'vitest'
import { migrateToLatest } from '../../../../src/infra/store/migrate.ts'
import { createJobStore } from '../../../../src/infra/store/sqlite/sqlite-job-store.ts'
import { jobsIn, submitLong, useSqliteFile } from '../../../support/store/sqlite-file.ts'

const file = useSqliteFile()

describe('a backup', () => {
  it('is whole and one file, though it is made while jobs come in', async () => {
    const database = await file.holding(2_000, { leaveOpen: true })
    const store = createJobStore(database.db)
    const to = file.inDirectory('backup.db')
    const done = database.backup(to)
    for (let n = 2_001; n <= 2_020; n++) await store.commit([submitLong(n)])
    await done
    const beside = readdirSync(file.directory).filter((name) => name.startsWith('backup'))
    expect(beside).toEqual(['backup.db'])
    expect(await jobsIn(file.open(to))).toBeGreaterThanOrEqual(2_000)
  })

  it('can take the place of a database that is lost', async () => {
    const database = await file.holding(3, { leaveOpen: true })
    const to = file.inDirectory('backup.db')
    await database.backup(to)
    await createJobStore(database.db).commit([submitLong(4)])
    await database.close()
    writeFileSync(file.path, 'lost')
    for (const suffix of ['-wal', '-shm']) rmSync(file.path + suffix, { force: true })
    copyFileSync(to, file.path)

    const restored = file.open()
    await migrateToLatest(restored.db)
    expect((await createJobStore(restored.db).load(0)).waiting.map(({ seq }) => seq)).toEqual([
      1, 2, 3,
    ])
  })

  it('that fails leaves nothing that looks like one', async () => {
    const database = await file.holding(1, { leaveOpen: true })
    mkdirSync(file.inDirectory('backup.db/in the way'), { recursive: true })
    await expect(database.backup(file.inDirectory('backup.db'))).rejects.toThrow()
    expect(readdirSync(file.directory).filter((name) => name.includes('unfinished'))).toEqual([])
  })

  it('of damage is none, and does not push out an older one', async () => {
    await file.holding(200)
    const database = file.open()
    file.overwrite(4096 * 2, Buffer.alloc(4096, 0xa5))
    await sql`pragma shrink_memory`.execute(database.db) // Or it would know better than its file.
    const to = file.inDirectory('backup.db')
    writeFileSync(to, 'the older one')
    await expect(database.backup(to)).rejects.toThrow('damaged')
    expect(readFileSync(to, 'utf8')).toBe('the older one')
  })
})
