import { sql } from 'kysely'
import { Client } from 'pg'
import { describe, expect, it, onTestFinished } from 'vitest'
import { DatabaseUnreachableError } from '../../../../src/domain/errors.ts'
import type { JobStore } from '../../../../src/infra/store/job-store.ts'
import type { Fence } from '../../../../src/infra/store/postgres/fence.ts'
import { migratePostgres } from '../../../../src/infra/store/postgres/migrate-postgres.ts'
import { openPostgres } from '../../../../src/infra/store/postgres/open-postgres.ts'
import { transact } from '../../../../src/infra/store/transact.ts'
import { jobId } from '../../../support/jobs.ts'
import { aBreakingProxy, type Break } from '../../../support/store/breaking-proxy.ts'
import { missing, takeTerm, usePostgresServer } from '../../../support/store/postgres-stores.ts'
import { numbersOf, submit } from '../../../support/store-suites/operations.ts'

describe.skipIf(missing)('PostgreSQL', () => {
  const server = usePostgresServer()

  async function aDatabase() {
    const direct = await server().createDatabase()
    await migratePostgres(direct)
    const proxy = await aBreakingProxy(direct)
    const over: Error[] = []
    const committed: number[] = []
    const fence: Fence = {
      term: await takeTerm(direct),
      onCommitted: (beganAt) => void committed.push(beganAt),
      onOver: (error) => void over.push(error),
    }
    const settings = { url: proxy.url, task: 'ti2v-5B', gpuModels: new Map() }
    const database = await openPostgres(settings, fence)
    onTestFinished(() => database.close())
    return { direct, proxy, over, committed, ...database, ...database.jobs }
  }

  const everything = { order: 'asc', limit: 100 } as const
  const stored = async ({ archive }: Awaited<ReturnType<typeof aDatabase>>) =>
    numbersOf((await archive.list(everything, 'everything')).jobs)

  describe.each<Break>(['before the commit', 'after the commit'])(
    'a network that breaks %s',
    (when) => {
      it('and works again at once leads to one record, and to the news that it is there', async () => {
        const database = await aDatabase()
        database.proxy.breakNext(when)
        expect(await database.queue.commit([submit(1)])).toEqual({ how: 'committed' })
        expect(await stored(database)).toEqual([1])
        expect(await database.queue.commit([submit(2)])).toEqual({ how: 'committed' })
        expect(await stored(database)).toEqual([1, 2])
      })
    },
  )

  it('confirms the lead with each commit, and with nothing that was not stored', async () => {
    const { committed, queue, archive, proxy } = await aDatabase()
    const before = performance.now()
    await queue.commit([submit(1)])
    expect(committed).toHaveLength(1)
    expect(committed[0]).toBeGreaterThanOrEqual(before)
    await archive.list(everything, 'everything')
    // The same job once more, which is refused and rolled back.
    await queue.commit([submit(1)]).catch(() => {})
    proxy.goDown()
    await queue.commit([submit(2)])
    expect(committed).toHaveLength(1)
  })

  it('that does not answer refuses a change, and says that nothing of it is stored', async () => {
    const database = await aDatabase()
    database.proxy.goDown()
    const result = await database.queue.commit([submit(1)])
    expect(result).toMatchObject({ how: 'unreachable', error: { mayBeStored: false } })
    database.proxy.goUp()
    expect(await database.queue.commit([submit(1)])).toEqual({ how: 'committed' })
  })

  it('that stays away after a commit makes the next change find the earlier one', async () => {
    const database = await aDatabase()
    const { queue, archive, proxy } = database
    proxy.breakNext('after the commit', 'stays down')
    const lost = await queue.commit([submit(1)])
    expect(lost).toMatchObject({ how: 'unreachable', error: { mayBeStored: true } })
    proxy.goUp()
    // The archive has made no change that could surprise it.
    const pin = { op: 'pin', jobId: jobId(1), pinned: true, at: 1 } as const
    expect(await archive.commit([pin])).toEqual({ how: 'committed' })
    expect(await queue.commit([submit(2)])).toMatchObject({ how: 'stale' })
    expect(await stored(database)).toEqual([1])
    expect(await queue.commit([submit(2)])).toEqual({ how: 'committed' })
  })

  it('that stays away longer than two changes wait surprises the one whose commit it was', async () => {
    const { queue, archive, proxy } = await aDatabase()
    proxy.breakNext('after the commit', 'stays down')
    const lost = queue.commit([submit(1)])
    const pin = { op: 'pin', jobId: jobId(1), pinned: true, at: 1 } as const
    const pinned = archive.commit([pin])
    expect(await lost).toMatchObject({ how: 'unreachable', error: { mayBeStored: true } })
    expect(await pinned).toMatchObject({ how: 'unreachable', error: { mayBeStored: false } })
    proxy.goUp()
    expect(await archive.commit([pin])).toEqual({ how: 'committed' })
    expect(await queue.commit([submit(2)])).toMatchObject({ how: 'stale' })
  })

  it('that stays away after a commit is no surprise any more once the queue has been loaded again', async () => {
    const { queue, proxy } = await aDatabase()
    proxy.breakNext('after the commit', 'stays down')
    await queue.commit([submit(1)])
    proxy.goUp()
    expect((await queue.load(0)).waiting).toHaveLength(1)
    expect(await queue.commit([submit(2)])).toEqual({ how: 'committed' })
  })

  it('that stays away before a commit arrived lets the next change go on', async () => {
    const { queue, proxy } = await aDatabase()
    proxy.breakNext('before the commit', 'stays down')
    const lost = await queue.commit([submit(1)])
    expect(lost).toMatchObject({ how: 'unreachable', error: { mayBeStored: true } })
    proxy.goUp()
    expect(await queue.commit([submit(1)])).toEqual({ how: 'committed' })
  })

  it('that does not answer makes a load wait, and other reads fail', async () => {
    const { queue, archive, proxy } = await aDatabase()
    proxy.goDown()
    const loaded = queue.load(0)
    await expect(archive.find(jobId(1), 'everything')).rejects.toThrow(DatabaseUnreachableError)
    proxy.goUp()
    expect((await loaded).waiting).toEqual([])
  })

  it('that ends a statement for waiting too long leaves no connection in its transaction', async () => {
    const { direct } = await aDatabase()
    const other = new Client(direct)
    await other.connect()
    try {
      const name = new URL(direct).pathname.slice(1)
      await other.query(`alter database ${name} set lock_timeout = '50ms'`)
      const { close, jobs } = await openPostgres(
        { url: direct, task: 'ti2v-5B', gpuModels: new Map() },
        { term: await takeTerm(direct), onOver() {} },
      )
      onTestFinished(close)
      await other.query('begin; select * from leader for update')
      expect(await jobs.queue.commit([submit(1)])).toMatchObject({ how: 'unreachable' })
      await other.query('rollback')
      expect(await jobs.queue.commit([submit(1)])).toEqual({ how: 'committed' })
      expect(await jobs.archive.find(jobId(1), 'everything')).toBeDefined()
    } finally {
      await other.end()
    }
  })

  it.each<[what: string, work: (store: JobStore) => Promise<unknown>]>([
    ['a commit', (store) => store.commit([submit(1)])],
    ['a read', (store) => store.findMany([jobId(1)], 'everything')],
  ])('ends the statement of %s that is given up, so that none pile up', async (_what, work) => {
    const url = await server().createDatabase()
    await migratePostgres(url)
    const { close, jobs } = await openPostgres(
      {
        ...{ url, task: 'ti2v-5B', gpuModels: new Map() },
        limits: { commitMs: 300, otherMs: 300 },
      },
      { term: await takeTerm(url), onOver() {} },
    )
    onTestFinished(close)
    const other = new Client(url)
    await other.connect()
    onTestFinished(() => other.end())
    await other.query('begin; lock table job in access exclusive mode')
    const database = new URL(url).pathname.slice(1)
    const waiting = () =>
      server().query(
        database,
        `select query from pg_stat_activity
         where wait_event_type = 'Lock' and datname = current_database()`,
      )
    const results = Promise.allSettled([work(jobs.queue), work(jobs.queue)])
    await expect.poll(waiting).not.toEqual([])
    await results
    await expect.poll(waiting).toEqual([])
    await other.query('rollback')
    await expect(work(jobs.queue)).resolves.toBeDefined()
  })

  it('changes records behind another change in a database that isolates transactions more strictly', async () => {
    const { direct } = await aDatabase()
    const other = new Client(direct)
    await other.connect()
    onTestFinished(() => other.end())
    const name = new URL(direct).pathname.slice(1)
    await other.query(`alter database ${name} set default_transaction_isolation = 'serializable'`)
    const { close, db } = await openPostgres(
      { url: direct, task: 'ti2v-5B', gpuModels: new Map() },
      { term: await takeTerm(direct), onOver() {} },
    )
    onTestFinished(close)
    await other.query('begin; update leader set beat = beat + 1')
    const changed = db.updateTable('delivery_clock').set({ steady: 1 }).execute()
    const waiting = `select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = '${name}'`
    await expect.poll(() => server().query(name, waiting)).not.toEqual([])
    await other.query('commit')
    await expect(changed).resolves.toBeDefined()
  })

  it('takes no change of a leader whose term is over', async () => {
    const database = await aDatabase()
    const { queue, db, over } = database
    await takeTerm(database.direct)
    await expect(queue.commit([submit(1)])).rejects.toThrow('Another node leads')
    const alone = db.updateTable('delivery_clock').set({ steady: 1 }).execute()
    await expect(alone).rejects.toThrow('Another node leads')
    expect(over).toHaveLength(2)
    expect(await stored(database)).toEqual([])
  })

  it('compiles no query: that takes longer than the query', async () => {
    const { db } = await aDatabase()
    const jit = sql<{ jit: string }>`select current_setting('jit') as jit`
    expect((await jit.execute(db)).rows).toEqual([{ jit: 'off' }])
    const inTransaction = await transact(db, (connection) => jit.execute(connection))
    expect(inTransaction.rows).toEqual([{ jit: 'off' }])
  })

  it('shows a text with U+0000 with U+FFFD in its place', async () => {
    const { queue } = await aDatabase()
    await queue.commit([submit(1, { prompt: 'a\0fox' })])
    const job = await queue.find(jobId(1), 'everything')
    expect(job?.request.prompt).toBe('a\uFFFDfox')
  })

  it('is told apart from an unusable one by what it says', async () => {
    const url = new URL(await server().createDatabase())
    url.pathname = '/nowhere'
    await expect(migratePostgres(url.href)).rejects.toThrow('database "nowhere" does not exist')
    url.password = 'wrong'
    await expect(migratePostgres(url.href)).rejects.toThrow('password authentication failed')
  })
})
