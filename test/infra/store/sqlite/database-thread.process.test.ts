import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import SQLite from 'better-sqlite3'
import { sql } from 'kysely'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { StoreLockedError } from '../../../../src/domain/errors.ts'
import { openDatabase } from '../../../../src/infra/store/sqlite/database.ts'
import { DeposedError } from '../../../../src/infra/store/sqlite/ownership.ts'
import { startThread } from '../../../../src/infra/store/sqlite/thread/database-thread.ts'
import { startDatabase } from '../../../../src/infra/store/sqlite/thread/start-database.ts'
import { transact } from '../../../../src/infra/store/transact.ts'
import { UnusableDatabaseError } from '../../../../src/infra/store/unusable-database.ts'
import { jobId } from '../../../support/jobs.ts'
import { aDatabaseLockHolder } from '../../../support/store/database-lock-holder.ts'
import { aMemoryDirectory } from '../../../support/store/sqlite-stores.ts'
import { createThreadStores, threadSettings } from '../../../support/store/thread-stores.ts'
import { describeEtaStore } from '../../../support/store-suites/eta-store.ts'
import { describeJobStore } from '../../../support/store-suites/job-store.ts'
import { canceled, claim, finish, submit } from '../../../support/store-suites/operations.ts'
import { describeRetentionStore } from '../../../support/store-suites/retention-store.ts'
import { describeWebhookStore } from '../../../support/store-suites/webhook-store-suite.ts'

describeJobStore('a thread', createThreadStores)
describeEtaStore('a thread', createThreadStores)
describeRetentionStore('a thread', createThreadStores)
describeWebhookStore('a thread', createThreadStores)

let directory: string
beforeEach(() => {
  directory = aMemoryDirectory('thread-')
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

async function aDatabase(onLost: (error: Error) => void = () => {}) {
  const database = await startDatabase(threadSettings(directory), onLost)
  onTestFinished(() => database.close())
  return database
}

describe('the database thread', () => {
  it('leaves the event loop free and reads possible while another program holds the lock', async () => {
    const { jobs, check } = await aDatabase()
    expect(await jobs.commit([submit(1)])).toEqual({ how: 'committed' })
    const holder = await aDatabaseLockHolder(join(directory, 'state.db'))
    const lateness = monitorEventLoopDelay({ resolution: 5 })
    lateness.enable()
    const began = performance.now()
    const results = [jobs.commit([submit(2)]), jobs.commit([submit(3)])]
    for (let n = 0; n < 20; n++) {
      expect(await jobs.find(jobId(1), 'everything')).toBeDefined()
      expect((await jobs.list({ order: 'asc', limit: 9 }, 'everything')).jobs).toHaveLength(1)
    }
    for (const result of await Promise.all(results)) {
      expect(result).toMatchObject({ how: 'locked', error: expect.any(StoreLockedError) })
    }
    // Those that wait behind the first one do not wait as long again.
    expect(performance.now() - began).toBeLessThan(4_500)
    expect(lateness.max / 1e6).toBeLessThan(500)
    expect(await check()).toMatchObject({ ok: false })

    holder.kill('SIGKILL')
    await once(holder, 'exit')
    expect(await jobs.commit([submit(2)])).toEqual({ how: 'committed' })
    expect(await check()).toMatchObject({ ok: true })
  })

  it('loads the queue after the commits that were asked for before', async () => {
    const { jobs } = await aDatabase()
    const commits = [1, 2, 3].map((n) => jobs.commit([submit(n)]))
    expect((await jobs.load(0)).waiting.map(({ seq }) => seq)).toEqual([1, 2, 3])
    await Promise.all(commits)
  })

  it('shows a job as it is after each commit, though it was read before', async () => {
    const { jobs } = await aDatabase()
    for (let n = 1; n <= 50; n++) {
      await jobs.commit([submit(n)])
      const claimed = jobs.commit([claim(n)])
      for (let reads = 0; reads < 10; reads++) await jobs.find(jobId(n), 'everything')
      await claimed
      expect((await jobs.find(jobId(n), 'everything'))?.state.status).toBe('running')
      await jobs.commit([finish(n, canceled)])
      expect((await jobs.find(jobId(n), 'everything'))?.state.status).toBe('canceled')
    }
  })

  it('lets nobody else write between the statements of a transaction, and reads go on', async () => {
    const { db, jobs } = await aDatabase()
    await jobs.commit([submit(1)])
    const inside = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    const transaction = transact(db, async (connection) => {
      await connection.deleteFrom('job').execute()
      inside.resolve()
      await gate.promise
      return connection.selectFrom('job').select('seq').execute()
    })
    await inside.promise
    const commit = jobs.commit([submit(2)])
    expect(await db.selectFrom('job').select('seq').execute()).toEqual([{ seq: 1 }])
    gate.resolve()
    expect(await transaction).toEqual([])
    expect(await commit).toEqual({ how: 'committed' })
    expect(await db.selectFrom('job').select('seq').execute()).toEqual([{ seq: 2 }])
  })

  it('carries out a commit before the transactions that wait with it', async () => {
    const { db, jobs } = await aDatabase()
    const inside = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    const order: string[] = []
    const first = transact(db, async () => {
      inside.resolve()
      await gate.promise
    })
    await inside.promise
    const others = [1, 2, 3].map((n) => transact(db, async () => void order.push(`other ${n}`)))
    const commit = jobs.commit([submit(1)]).then(() => order.push('commit'))
    gate.resolve()
    await Promise.all([first, ...others, commit])
    expect(order).toEqual(['commit', 'other 1', 'other 2', 'other 3'])
  })

  it('rolls back a transaction that fails, and one that nobody ends', async () => {
    const { db, jobs } = await aDatabase()
    await jobs.commit([submit(1)])
    const failing = transact(db, async (connection) => {
      await connection.deleteFrom('job').execute()
      throw new Error('on purpose')
    })
    await expect(failing).rejects.toThrow('on purpose')
    await db.connection().execute(async (connection) => {
      await sql`begin immediate`.execute(connection)
      await connection.deleteFrom('job').execute()
    })
    expect(await jobs.commit([submit(2)])).toEqual({ how: 'committed' })
    expect(await db.selectFrom('job').select('seq').execute()).toEqual([{ seq: 1 }, { seq: 2 }])
  })

  it('lets a service that was replaced write nothing, in a transaction or without one', async () => {
    const lost = Promise.withResolvers<Error>()
    const { db, jobs } = await aDatabase(lost.resolve)
    await jobs.commit([submit(1)])
    const other = openDatabase(join(directory, 'state.db'))
    onTestFinished(() => other.close())
    await expect(db.deleteFrom('job').execute()).rejects.toThrow(DeposedError)
    expect(await lost.promise).toBeInstanceOf(DeposedError)
    expect(await other.db.selectFrom('job').select('seq').execute()).toEqual([{ seq: 1 }])
  })

  it('keeps code and message of an error of SQLite', async () => {
    const { jobs } = await aDatabase()
    await jobs.commit([submit(1)])
    const again = jobs.commit([submit(1)])
    await expect(again).rejects.toThrow(SQLite.SqliteError)
    await expect(again).rejects.toMatchObject({ code: expect.stringMatching(/^SQLITE_CONSTRAINT/) })
  })

  it('refuses a database that cannot be used, and ends', async () => {
    writeFileSync(join(directory, 'state.db'), 'This is not a database.\n'.repeat(500))
    const starting = startDatabase(threadSettings(directory), () => {})
    await expect(starting).rejects.toThrow(UnusableDatabaseError)
    await expect(starting).rejects.toThrow(/state\.db is damaged .*docs\/operations\.md/s)
  })

  it('reports once that another service has taken the database over', async () => {
    const onLost = vi.fn()
    const { jobs } = await aDatabase(onLost)
    const other = openDatabase(join(directory, 'state.db'))
    onTestFinished(() => other.close())
    await expect(jobs.commit([submit(1)])).rejects.toThrow(DeposedError)
    await expect(jobs.commit([submit(1)])).rejects.toThrow(DeposedError)
    expect(onLost).toHaveBeenCalledExactlyOnceWith(expect.any(DeposedError))
    await expect(jobs.load(0)).rejects.toThrow(DeposedError)
  })

  it.each([
    ['dies of an error', 'throw new Error("out of order")', 'out of order'],
    ['ends without a word', 'process.exit(3)', 'ended with code 3'],
  ])('is reported when it %s; calls that wait fail', async (_how, act, message) => {
    const script = join(directory, 'worker.mjs')
    writeFileSync(
      script,
      `import { parentPort } from 'node:worker_threads'
       parentPort.on('message', () => { ${act} })
       parentPort.postMessage({ type: 'opened' })`,
    )
    const lost = Promise.withResolvers<Error>()
    const { call, close } = await startThread(threadSettings(directory), lost.resolve, script)
    await expect(Promise.all([call('pass'), call('check')])).rejects.toThrow(message)
    expect((await lost.promise).message).toContain(message)
    await expect(call('pass')).rejects.toThrow(message)
    await close()
  })

  it('carries out what was asked for before it closes, and leaves one file', async () => {
    const database = await startDatabase(threadSettings(directory), () => {})
    const commit = database.jobs.commit([submit(1)])
    await database.close()
    expect(await commit).toEqual({ how: 'committed' })
    expect(readdirSync(directory)).toEqual(['state.db'])
    await expect(database.jobs.commit([submit(2)])).rejects.toThrow('closed')
  })
})

describe('a backup on a thread of its own', () => {
  it('is whole though jobs are committed meanwhile', async () => {
    const { jobs, backup } = await aDatabase()
    for (let n = 1; n <= 200; n++) await jobs.commit([submit(n)])
    const to = join(directory, 'backup.db')
    const done = backup(to)
    for (let n = 201; n <= 220; n++) await jobs.commit([submit(n)])
    await done
    const copy = new SQLite(to)
    expect(copy.prepare('select count(*) from job').pluck().get()).toBeGreaterThanOrEqual(200)
    expect(copy.pragma('quick_check', { simple: true })).toBe('ok')
    copy.close()
  })

  it('that fails says why, and leaves nothing that looks like one', async () => {
    const { backup } = await aDatabase()
    mkdirSync(join(directory, 'backup.db', 'in the way'), { recursive: true })
    await expect(backup(join(directory, 'backup.db'))).rejects.toThrow(/EISDIR|directory/)
    expect(existsSync(join(directory, 'backup.db.unfinished'))).toBe(false)
  })
})
