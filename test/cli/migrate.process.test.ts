import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { migrateToLatest } from '../../src/infra/store/migrate.ts'
import { openDatabase } from '../../src/infra/store/sqlite/database.ts'
import { createJobStore } from '../../src/infra/store/sqlite/sqlite-job-store.ts'
import { wanctl } from '../support/cli.ts'
import { aDataDirectory, startService } from '../support/service.ts'
import { aBreakingProxy } from '../support/store/breaking-proxy.ts'
import { missing, openStores, usePostgresServer } from '../support/store/postgres-stores.ts'
import { made, numbersOf, submit } from '../support/store-suites/operations.ts'

vi.setConfig({ testTimeout: 120_000 })

describe.skipIf(missing)('wanctl migrate', () => {
  const server = usePostgresServer()
  const onSqlite = { DATABASE_URL: '' }
  const migrate = (dataDir: string, DATABASE_URL: string) =>
    wanctl(['migrate', '--json'], { env: { DATA_DIR: dataDir, DATABASE_URL } })

  /** A data directory whose database has these jobs and nothing else. */
  async function aDatabaseOf(jobs: number): Promise<string> {
    const dataDir = aDataDirectory()
    const { db, close } = openDatabase(join(dataDir, 'state.db'))
    await migrateToLatest(db)
    const store = createJobStore(db)
    await store.commit(made(1))
    const rest = Array.from({ length: jobs - 1 }, (_, n) =>
      submit(n + 2, { prompt: `${n} Füchse 🦊 'im' \0 "Schnee"` }),
    )
    await store.commit(rest)
    await close()
    return dataDir
  }

  it('moves an installation whose jobs, places, webhooks and videos are there afterwards, and whose generation goes on', async () => {
    const env = { SIM_SPEED: '30', GPU_IDS: '0' }
    const before = await startService({ env: { ...env, ...onSqlite } })
    const { dataDir } = before
    const url = 'https://example.org/hook'
    const webhook = await before.request('/webhook', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ url, events: ['job.success'] }),
    })
    expect(webhook.status).toBe(201)
    const done = await before.submit({ prompt: 'done' })
    await before.until(done)
    const running = await before.submit({ prompt: 'running', steps: 50 })
    const waiting = await before.submit({ prompt: 'waiting' })
    await before.until(running, ({ status }) => status === 'running')
    const shownBefore = await before.status(done)
    await before.stop()

    const database = await server().createDatabase()
    const moved = await wanctl(['migrate'], { env: { DATA_DIR: dataDir, DATABASE_URL: database } })
    expect(moved).toMatchObject({ code: 0 })
    expect(moved.stdout).toMatch(/^Moved and compared: 3 jobs with 2 attempts, and 1 webhooks\./)

    const after = await startService({ dataDir, env: { ...env, DATABASE_URL: database } })
    const { file_url, thumbnail_url, ...rest } = shownBefore
    expect(await after.status(done)).toMatchObject(rest)
    expect((await after.request(new URL(`${file_url}`, after.url).pathname)).status).toBe(200)
    expect(thumbnail_url).not.toBeNull()
    expect(await after.json('/webhook')).toMatchObject({ webhooks: [{ url }] })
    for (const id of [running, waiting]) {
      expect(await after.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    }
    expect(after.journal().filter(({ event }) => event === 'start')).toHaveLength(3)
    const { jobs } = await after.json<{ jobs: JobJson[] }>('/jobs?limit=10')
    expect(jobs.map(({ prompt }) => prompt).toSorted()).toEqual(['done', 'running', 'waiting'])
  })

  it('moves everything again, or nothing, or what an interruption has left out', async () => {
    const dataDir = await aDatabaseOf(1_200)
    const direct = await server().createDatabase()
    const proxy = await aBreakingProxy(direct)
    // The first commit is that of the schema.
    const schema = await migrate(aDataDirectory(), direct)
    expect(schema).toMatchObject({ code: 6 })
    proxy.breakNext('before the commit')
    expect(await migrate(dataDir, proxy.url)).toMatchObject({ code: 1 })
    proxy.breakNext('after the commit')
    await migrate(dataDir, proxy.url)
    const moved = await migrate(dataDir, direct)
    expect(moved).toMatchObject({ code: 0 })
    expect(JSON.parse(moved.stdout)).toMatchObject({ rows: { job: 1_200, attempt: 1 } })
    const again = await migrate(dataDir, direct)
    expect(JSON.parse(again.stdout)).toMatchObject({ outcome: 'was there already' })

    const stores = await openStores(direct)
    try {
      const { jobs } = await stores.jobs.list({ order: 'asc', limit: 5_000 }, 'everything')
      expect(numbersOf(jobs)).toEqual(Array.from({ length: 1_200 }, (_, n) => n + 1))
      expect(jobs[5]?.request.prompt).toBe(`4 Füchse 🦊 'im' \uFFFD "Schnee"`)
      await stores.jobs.commit([submit(5_000)])
    } finally {
      await stores.close()
    }
    const others = await migrate(dataDir, direct)
    expect(others).toMatchObject({ code: 1 })
    expect(others.stderr).toContain('has jobs or webhooks that are not those of this database')
  })

  it('refuses while a service uses the source or the target', async () => {
    const database = await server().createDatabase()
    const source = await startService({ env: onSqlite })
    const inUse = await migrate(source.dataDir, database)
    expect(inUse).toMatchObject({ code: 1 })
    expect(inUse.stderr).toContain('in use by another wan-supervisor')

    await startService({ env: { DATABASE_URL: database } })
    const refused = await migrate(await aDatabaseOf(2), database)
    expect(refused).toMatchObject({ code: 1 })
    expect(refused.stderr).toMatch(/A wan-supervisor, on .+, uses PostgreSQL at .+\. Stop it first/)
  })

  it('says what is missing', async () => {
    const database = await server().createDatabase()
    const nothing = await migrate(aDataDirectory(), database)
    expect(nothing).toMatchObject({ code: 6 })
    expect(nothing.stderr).toContain('There is no database at')
    const nowhere = await wanctl(['migrate'], { env: { DATA_DIR: await aDatabaseOf(2) } })
    expect(nowhere).toMatchObject({ code: 2 })
    expect(nowhere.stderr).toContain('--to postgres://')
    const wrong = await migrate(await aDatabaseOf(2), 'mysql://root:secret@host/db')
    expect(wrong).toMatchObject({ code: 1 })
    expect(wrong.stderr).toContain('DATABASE_URL must be a URL')
    expect(wrong.stderr).not.toContain('secret')
  })
})
