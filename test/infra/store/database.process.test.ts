import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import SQLite from 'better-sqlite3'
import { sql } from 'kysely'
import type { Migration } from 'kysely/migration'
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import type { StoreOperation } from '../../../src/actors/queue/queue-ports.ts'
import { root } from '../../../src/config/root.ts'
import {
  type OpenDatabase,
  openDatabase,
  transact,
  UnusableDatabaseError,
} from '../../../src/infra/store/database.ts'
import { createJobStore } from '../../../src/infra/store/job-store.ts'
import { migrateToLatest } from '../../../src/infra/store/migrate.ts'
import { migrations } from '../../../src/infra/store/migrations/index.ts'
import { createBackups } from '../../../src/infra/upkeep/backups.ts'
import { hasFilesOfJobs } from '../../../src/infra/upkeep/earlier-jobs.ts'
import { aRequest, fromAnybody, jobId, midnight } from '../../support/jobs.ts'
import { serviceEnvironment } from '../../support/service.ts'
import { aSmallDisk, canMount } from '../../support/small-disk.ts'

let directory: string
let path: string
const opened: OpenDatabase[] = []

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'database-'))
  path = join(directory, 'state.db')
})
afterEach(async () => {
  for (const database of opened.splice(0)) await database.close()
  rmSync(directory, { recursive: true, force: true })
})

describe('a database that cannot be used', () => {
  it.each<[what: string, damage: () => void]>([
    ['a text file', () => writeFileSync(path, 'This is not a database.\n'.repeat(500))],
    ['one with a zeroed header', () => overwrite(0, Buffer.alloc(100))],
    ['half a file', () => truncateSync(path, Math.floor(statSync(path).size / 2 / 4096) * 4096)],
    ['one cut off in a page', () => truncateSync(path, statSync(path).size - 1000)],
    ['one with a page overwritten', () => overwrite(4096 * 2, Buffer.alloc(4096, 0xa5))],
  ])('is %s; the refusal names it and the way to a backup', async (_what, damage) => {
    await aDatabaseOf(200)
    damage()
    expect(refusal()).toMatch(/state\.db is damaged .*docs\/operations\.md/s)
  })

  it('is one that another program is writing to', { timeout: 20_000 }, async () => {
    await aDatabaseOf(1)
    await aLockHolder()
    expect(refusal()).toMatch(/state\.db is locked by another program\. Close/)
  })

  it('is one of a newer version', async () => {
    await aDatabaseOf(1)
    const raw = new SQLite(path)
    raw.exec("insert into kysely_migration values ('999-of-tomorrow', '2030-01-01')")
    raw.close()
    expect(refusal()).toMatch(/newer version.*999-of-tomorrow.*backup/s)
  })

  it.each<[what: string, make: () => void]>([
    ['a directory', () => mkdirSync(path)],
    ['in a directory that does not exist', () => rmSync(directory, { recursive: true })],
  ])('is %s', (_what, make) => {
    make()
    expect(refusal()).toMatch(/state\.db cannot be opened for writing .*Check/s)
  })

  it.each<[what: string, make: () => void]>([
    ['missing', () => {}],
    ['of length zero', () => writeFileSync(path, '')],
    ['without a table', () => new SQLite(path).exec('vacuum').close()],
  ])('is %s, though there are files of earlier jobs', (_what, make) => {
    make()
    expect(refusal({ mustHaveJobs: true })).toMatch(/missing or empty.*backup.*begin anew/s)
    expect(() => open()).not.toThrow()
  })

  it('leaves nothing open and nothing changed', async () => {
    await aDatabaseOf(200)
    overwrite(0, Buffer.alloc(100))
    const before = readFileSync(path)
    refusal()
    expect(readFileSync(path)).toEqual(before)
    expect(readdirSync(directory)).toEqual(['state.db'])
  })
})

describe('a database that only looks bad', () => {
  it('is used in spite of a garbage WAL', async () => {
    await aDatabaseOf(3)
    writeFileSync(`${path}-wal`, Buffer.alloc(40_000, 0x5a))
    expect(await jobsIn(open())).toBe(3)
  })

  it('is used as it was before a commit that was cut off', async () => {
    const database = await aDatabaseOf(3, { leaveOpen: true })
    copyFileSync(path, `${path}.copy`)
    const wal = readFileSync(`${path}-wal`)
    writeFileSync(`${path}.copy-wal`, wal.subarray(0, wal.length - 100))
    await database.close()
    expect(await jobsIn(open(`${path}.copy`))).toBe(2)
  })
})

describe('what earlier jobs have left', () => {
  const data = () => ({ workDir: join(directory, 'work'), resultsDir: join(directory, 'results') })
  const backups = () => join(directory, 'backups')

  it.each<[where: string, file: string | undefined, isOfJobs: boolean]>([
    ['nowhere', undefined, false],
    ['in work/', `work/${jobId(1)}`, true],
    ['in results/', 'results/result_gpu0_2026-07-31_10-00-00_abcdefgh.mp4', true],
    ['in backups/', 'backups/state-2026-07-31.db', true],
    ['of somebody else', 'results/holiday.mp4', false],
    ['of a backup that was not finished', 'backups/state-2026-07-31.db.unfinished', false],
  ])('is found %s', async (_where, file, isOfJobs) => {
    for (const name of ['work', 'results']) mkdirSync(join(directory, name))
    if (file) mkdirSync(join(directory, file), { recursive: true })
    expect(await hasFilesOfJobs(data(), backups())).toBe(isOfJobs)
  })
})

describe('the service', () => {
  it('says in one sentence why it does not start, and how it will', async () => {
    mkdirSync(join(directory, 'work', jobId(1)), { recursive: true })
    const { code, stderr } = await startInVain()
    expect(code).toBe(1)
    expect(stderr).toMatch(/^wan-supervisor cannot start\. \S+state\.db is missing or empty, .*\n$/)
    expect(existsSync(path)).toBe(false)
  })
})

describe('a backup', () => {
  it('is whole and one file, though it is made while jobs come in', async () => {
    const database = await aDatabaseOf(2_000, { leaveOpen: true })
    const store = createJobStore(database.db)
    const to = join(directory, 'backup.db')
    const done = database.backup(to)
    for (let n = 2_001; n <= 2_020; n++) await store.commit([submit(n)])
    await done
    const beside = readdirSync(directory).filter((name) => name.startsWith('backup'))
    expect(beside).toEqual(['backup.db'])
    expect(await jobsIn(open(to))).toBeGreaterThanOrEqual(2_000)
  })

  it('can take the place of a database that is lost', async () => {
    const database = await aDatabaseOf(3, { leaveOpen: true })
    const to = join(directory, 'backup.db')
    await database.backup(to)
    await createJobStore(database.db).commit([submit(4)])
    await database.close()
    writeFileSync(path, 'lost')
    for (const suffix of ['-wal', '-shm']) rmSync(path + suffix, { force: true })
    copyFileSync(to, path)

    const restored = open()
    await migrateToLatest(restored.db)
    expect((await createJobStore(restored.db).load(0)).waiting.map(({ seq }) => seq)).toEqual([
      1, 2, 3,
    ])
  })

  it('that fails leaves nothing that looks like one', async () => {
    const database = await aDatabaseOf(1, { leaveOpen: true })
    mkdirSync(join(directory, 'backup.db', 'in the way'), { recursive: true })
    await expect(database.backup(join(directory, 'backup.db'))).rejects.toThrow()
    expect(readdirSync(directory).filter((name) => name.includes('unfinished'))).toEqual([])
  })

  it('of damage is none, and does not push out an older one', async () => {
    await aDatabaseOf(200)
    const database = open()
    overwrite(4096 * 2, Buffer.alloc(4096, 0xa5))
    await sql`pragma shrink_memory`.execute(database.db) // Or it would know better than its file.
    const to = join(directory, 'backup.db')
    writeFileSync(to, 'the older one')
    await expect(database.backup(to)).rejects.toThrow('damaged')
    expect(readFileSync(to, 'utf8')).toBe('the older one')
  })
})

describe('backups', () => {
  const kept = () => readdirSync(join(directory, 'backups')).sort()
  const aBackupsDirectory = (backup = async (to: string) => writeFileSync(to, '')) =>
    createBackups(join(directory, 'backups'), { backup })

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
      writeFileSync(join(directory, 'backups', name), '')
    }
    for (let day = 2; day <= 10; day++) {
      await backups.daily(`2026-07-${String(day).padStart(2, '0')}`)
    }
    const days = ['04', '05', '06', '07', '08', '09', '10'].map((day) => `state-2026-07-${day}.db`)
    expect(kept()).toEqual(['notes.txt', ...days, 'state-mine.db'])
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
    const database = await aDatabaseOf(3, { leaveOpen: true })
    const backups = createBackups(join(directory, 'backups'), database)
    await migrateToLatest(database.db, backups.beforeMigration, withOneMore)
    expect(await jobsIn(database)).toBe(0)
    expect(kept()).toEqual([
      expect.stringMatching(/^state-\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_before-900-lose-all\.db$/),
    ])
    expect(await jobsIn(open(join(directory, 'backups', kept()[0] ?? '')))).toBe(3)
  })

  it('are not made of a new database, nor when there is nothing to migrate', async () => {
    const database = open()
    const before: string[] = []
    const note = async (name: string) => void before.push(name)
    await migrateToLatest(database.db, note)
    await migrateToLatest(database.db, note)
    expect(before).toEqual([])
  })

  it('that fail keep the migration from happening', async () => {
    const database = await aDatabaseOf(3, { leaveOpen: true })
    const fail = async () => {
      throw new Error('no room')
    }
    await expect(migrateToLatest(database.db, fail, withOneMore)).rejects.toThrow('no room')
    expect(await jobsIn(database)).toBe(3)
  })
})

describe('the check of a database', () => {
  it('writes, so that it knows', async () => {
    const database = open()
    const wal = () => statSync(`${path}-wal`).size
    const before = wal()
    expect(await database.check()).toEqual({ name: 'database', ok: true, detail: path })
    expect(wal()).toBeGreaterThan(before)
  })

  it('does not wait while another program is in the middle of a change, and leaves all as it is', async () => {
    const database = open()
    // Not by its first look only.
    expect(await database.check()).toMatchObject({ ok: true })
    const holder = await aLockHolder()
    const begun = performance.now()
    expect(await database.check()).toMatchObject({ ok: false })
    expect(performance.now() - begun).toBeLessThan(2_000)
    holder.kill('SIGKILL')
    await once(holder, 'exit')
    expect(await database.check()).toMatchObject({ ok: true })
    const { rows } = await sql`pragma busy_timeout`.execute(database.db)
    expect(rows).toEqual([{ timeout: 5_000 }])
  })

  it.runIf(canMount)('says that there is no room when there is none', async () => {
    const disk = aSmallDisk({ mib: 1 })
    path = join(disk.path, 'state.db')
    const database = open()
    disk.fill()
    expect(await database.check()).toMatchObject({
      ok: false,
      detail: `There is no room on the disk of ${path}: make some.`,
    })
    disk.makeRoom()
    expect(await database.check()).toMatchObject({ ok: true })
  })
})

describe('a transaction', () => {
  it('that fails has changed nothing, and tells why', async () => {
    const { db } = await aDatabaseOf(1, { leaveOpen: true })
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

/** What an upgrade may bring, at its worst. */
const withOneMore: Record<string, Migration> = {
  ...migrations,
  '900-lose-all': { up: async (db) => void (await sql`delete from job`.execute(db)) },
}

function open(where = path, options: Parameters<typeof openDatabase>[1] = {}): OpenDatabase {
  const database = openDatabase(where, options)
  opened.push(database)
  return database
}

function refusal(options: Parameters<typeof openDatabase>[1] = {}): string {
  try {
    open(path, options)
  } catch (error) {
    expect(error).toBeInstanceOf(UnusableDatabaseError)
    return (error as Error).message
  }
  throw new Error('it was opened')
}

async function aDatabaseOf(jobs: number, { leaveOpen = false } = {}): Promise<OpenDatabase> {
  const database = openDatabase(path)
  await migrateToLatest(database.db)
  const store = createJobStore(database.db)
  const numbers = Array.from({ length: jobs }, (_, n) => n + 1)
  // The last one by itself, so that there is a last commit to lose.
  if (jobs > 1) await store.commit(numbers.slice(0, -1).map(submit))
  await store.commit(numbers.slice(-1).map(submit))
  if (leaveOpen) opened.push(database)
  else await database.close()
  return database
}

const submit = (n: number): StoreOperation => ({
  op: 'submit',
  jobId: jobId(n),
  seq: n,
  request: aRequest({ prompt: `job ${n} `.repeat(20) }),
  ...fromAnybody,
  at: midnight,
})

async function jobsIn({ db }: OpenDatabase): Promise<number> {
  const { n } = await db
    .selectFrom('job')
    .select(({ fn }) => fn.countAll<number>().as('n'))
    .executeTakeFirstOrThrow()
  return n
}

function overwrite(position: number, bytes: Buffer): void {
  const file = readFileSync(path)
  bytes.copy(file, position)
  writeFileSync(path, file)
}

/** Another process in the middle of a change, as a database browser may be for hours. */
async function aLockHolder(): Promise<ChildProcess> {
  const script = `
    import sqlite3, sys
    db = sqlite3.connect(sys.argv[1], isolation_level=None)
    db.execute('BEGIN IMMEDIATE')
    print('locked', flush=True)
    sys.stdin.read()
  `.replaceAll('\n    ', '\n')
  const holder = spawn('python3', ['-c', script, path], { stdio: ['pipe', 'pipe', 'inherit'] })
  onTestFinished(() => void holder.kill('SIGKILL'))
  await once(holder.stdout, 'data')
  return holder
}

async function startInVain(): Promise<{ code: number | null; stderr: string }> {
  const main = join(root, 'src', 'main.ts')
  const env = serviceEnvironment(directory)
  const child = spawn(process.execPath, [main], { env, stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.on('data', (chunk) => (stderr += chunk))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stderr }
}
