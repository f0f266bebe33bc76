import {
  copyFileSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import SQLite from 'better-sqlite3'
import { sql } from 'kysely'
import { describe, expect, it } from 'vitest'
import { migrateToLatest } from '../../../../src/infra/store/migrate.ts'
import {
  type OpenDatabase,
  type OpenOptions,
  openDatabase,
} from '../../../../src/infra/store/sqlite/database.ts'
import { DeposedError } from '../../../../src/infra/store/sqlite/ownership.ts'
import { transact } from '../../../../src/infra/store/transact.ts'
import { UnusableDatabaseError } from '../../../../src/infra/store/unusable-database.ts'
import { jobsIn, useSqliteFile } from '../../../support/store/sqlite-file.ts'

const file = useSqliteFile()

describe('a database on disk', () => {
  it('does not take a power cut for a reason to forget, new or opened again', async () => {
    for (const _ of ['new', 'opened again']) {
      const { db, close } = openDatabase(file.path)
      await migrateToLatest(db)
      const pragma = async (name: string) => {
        const { rows } = await sql.raw<object>(`pragma ${name}`).execute(db)
        return Object.values(rows[0] ?? {})[0]
      }
      expect(await pragma('journal_mode')).toBe('wal')
      expect(await pragma('synchronous')).toBe(2) // FULL
      expect(await pragma('foreign_keys')).toBe(1)
      await close()
    }
  })
})

describe('a database that cannot be used', () => {
  it.each<[what: string, damage: () => void]>([
    ['a text file', () => writeFileSync(file.path, 'This is not a database.\n'.repeat(500))],
    ['one with a zeroed header', () => file.overwrite(0, Buffer.alloc(100))],
    [
      'half a file',
      () => truncateSync(file.path, Math.floor(statSync(file.path).size / 2 / 4096) * 4096),
    ],
    ['one cut off in a page', () => truncateSync(file.path, statSync(file.path).size - 1000)],
    ['one with a page overwritten', () => file.overwrite(4096 * 2, Buffer.alloc(4096, 0xa5))],
  ])('is %s; the refusal names it and the way to a backup', async (_what, damage) => {
    await file.holding(200)
    damage()
    expect(refusal()).toMatch(/state\.db is damaged .*docs\/operations\.md/s)
  })

  it('is one of a newer version', async () => {
    await file.holding(1)
    const raw = new SQLite(file.path)
    raw.exec("insert into kysely_migration values ('999-of-tomorrow', '2030-01-01')")
    raw.close()
    expect(refusal()).toMatch(/newer version.*999-of-tomorrow.*backup/s)
  })

  it.each<[what: string, make: () => void]>([
    ['a directory', () => mkdirSync(file.path)],
    ['in a directory that does not exist', () => rmSync(file.directory, { recursive: true })],
  ])('is %s', (_what, make) => {
    make()
    expect(refusal()).toMatch(/state\.db cannot be opened for writing .*Check/s)
  })

  it.each<[what: string, make: () => void]>([
    ['missing', () => {}],
    ['of length zero', () => writeFileSync(file.path, '')],
    ['without a table', () => new SQLite(file.path).exec('vacuum').close()],
  ])('is %s, though there are files of earlier jobs', (_what, make) => {
    make()
    expect(refusal({ mustHaveJobs: true })).toMatch(/missing or empty.*backup.*begin anew/s)
    expect(() => file.open()).not.toThrow()
  })

  it('is one with a second hard link', async () => {
    await file.holding(1)
    linkSync(file.path, file.inDirectory('second.db'))
    for (const path of [file.path, file.inDirectory('second.db')]) {
      expect(refusal({}, path)).toMatch(/has 2 hard links\. .*Remove the other links: find/)
    }
    rmSync(file.inDirectory('second.db'))
    expect(await jobsIn(file.open())).toBe(1)
  })

  it('leaves nothing open and nothing changed', async () => {
    await file.holding(200)
    file.overwrite(0, Buffer.alloc(100))
    const before = readFileSync(file.path)
    refusal()
    expect(readFileSync(file.path)).toEqual(before)
    expect(readdirSync(file.directory)).toEqual(['state.db'])
  })
})

describe('a database that only looks bad', () => {
  it('is used in spite of a garbage WAL', async () => {
    await file.holding(3)
    writeFileSync(`${file.path}-wal`, Buffer.alloc(40_000, 0x5a))
    expect(await jobsIn(file.open())).toBe(3)
  })

  it('is used as it was before a commit that was cut off', async () => {
    const database = await file.holding(3, { leaveOpen: true })
    copyFileSync(file.path, `${file.path}.copy`)
    const wal = readFileSync(`${file.path}-wal`)
    writeFileSync(`${file.path}.copy-wal`, wal.subarray(0, wal.length - 100))
    await database.close()
    expect(await jobsIn(file.open(`${file.path}.copy`))).toBe(2)
  })
})

describe('the check of a database', () => {
  it('writes, so that it knows', async () => {
    const database = file.open()
    const wal = () => statSync(`${file.path}-wal`).size
    const before = wal()
    expect(await database.check()).toEqual({ name: 'database', ok: true, detail: file.path })
    expect(wal()).toBeGreaterThan(before)
  })
})

describe('a transaction', () => {
  it('that fails has changed nothing, and tells why', async () => {
    const { db } = await file.holding(1, { leaveOpen: true })
    const failing = transact(db, async (connection) => {
      await sql`delete from job`.execute(connection)
      // As a full disk does: SQLite itself rolls back, and there is no transaction left to end.
      await sql`rollback`.execute(connection)
      throw new Error('the real reason')
    })
    await expect(failing).rejects.toThrow('the real reason')
    await transact(db, async (connection) => void (await sql`select 1`.execute(connection)))
  })
})

describe('the owner of a database', () => {
  it('can write until another one opens it, and never again after that', async () => {
    const first = await file.holding(1, { leaveOpen: true })
    const remove = ({ db }: OpenDatabase) =>
      transact(db, async (connection) => void (await connection.deleteFrom('job').execute()))
    const second = file.open()
    await expect(remove(first)).rejects.toThrow(DeposedError)
    await expect(first.check()).rejects.toThrow(`taken over ${file.path}`)
    expect(await jobsIn(second)).toBe(1)
    await remove(second)
    await expect(remove(first)).rejects.toThrow(DeposedError)
    expect(await second.check()).toMatchObject({ ok: true })
    expect(await jobsIn(first)).toBe(0)
  })

  it('is deposed by an earlier version, which writes a zero into the same field', async () => {
    const { check } = await file.holding(1, { leaveOpen: true })
    new SQLite(file.path).exec('pragma user_version = 0').close()
    await expect(check()).rejects.toThrow(DeposedError)
  })
})

function refusal(options: OpenOptions = {}, path = file.path): string {
  try {
    file.open(path, options)
  } catch (error) {
    expect(error).toBeInstanceOf(UnusableDatabaseError)
    return (error as Error).message
  }
  throw new Error('it was opened')
}
