import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { renameSync } from 'node:fs'
import { join } from 'node:path'
import { Kysely, sql } from 'kysely'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { main } from '../../bench/built.ts'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { migrations } from '../../src/infra/store/migrations/index.ts'
import { migratePostgres } from '../../src/infra/store/postgres/migrate-postgres.ts'
import { createPool } from '../../src/infra/store/postgres/pool.ts'
import { createPostgresDialect } from '../../src/infra/store/postgres/postgres-dialect.ts'
import { wanctl } from '../support/cli.ts'
import { aSmallDisk, canMount } from '../support/disk/small-disk.ts'
import {
  aDataDirectory,
  quick,
  type Service,
  serviceEnvironment,
  startService,
} from '../support/service.ts'
import { isAlive } from '../support/shim-attempt.ts'
import { aBreakingProxy } from '../support/store/breaking-proxy.ts'
import { missing, takeTerm, usePostgresServer } from '../support/store/postgres-stores.ts'

// Some of them wait until an outage or a dead leader is noticed.
vi.setConfig({ testTimeout: 120_000 })

describe.skipIf(missing)('a service on PostgreSQL', () => {
  const server = usePostgresServer({ isDurable: true })
  const aDatabase = async () => ({ DATABASE_URL: await server().createDatabase() })

  const isGenerating = ({ stage }: JobJson) => stage !== null && stage !== 'converting'

  const check = async (service: Service) => {
    const { checks } = await service.json<{
      checks: { name: string; ok: boolean; detail: string }[]
    }>('/ready')
    return checks.find(({ name }) => name === 'database')
  }

  it('makes videos, keeps everything over a kill, and writes no database of its own', async () => {
    const env = { ...(await aDatabase()), SIM_SPEED: '30', GPU_IDS: '0' }
    const first = await startService({ env })
    const done = await first.submit({ prompt: 'done' })
    await first.until(done)
    const running = await first.submit({ prompt: 'running', steps: 50 })
    const waiting = await first.submit({ prompt: 'waiting', steps: 50 })
    await first.until(running, isGenerating)
    await first.stop('SIGKILL')

    const second = await startService({ dataDir: first.dataDir, env })
    expect(await second.status(done)).toMatchObject({ status: 'success' })
    for (const id of [running, waiting]) {
      expect(await second.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    }
    expect(second.journal().filter(({ event }) => event === 'start')).toHaveLength(3)
    expect(await check(second)).toMatchObject({
      ok: true,
      detail: `PostgreSQL at 127.0.0.1:${server().port}, database ${new URL(env.DATABASE_URL).pathname.slice(1)}`,
    })
    expect(second.allLogs()).not.toContain(server().password)
  })

  it('that loses its server refuses changes with a reason, and records afterwards what was generated meanwhile', async () => {
    const { DATABASE_URL } = await aDatabase()
    const proxy = await aBreakingProxy(DATABASE_URL)
    const service = await startService({ env: { DATABASE_URL: proxy.url, SIM_SPEED: '30' } })
    const running = await service.submit({ prompt: 'running', steps: 20 })
    await service.until(running, isGenerating)

    proxy.goDown()
    const refused = await service.post({ ...quick, prompt: 'too early' })
    expect(refused.status).toBe(503)
    expect(refused.headers.get('Retry-After')).not.toBeNull()
    expect(await refused.json()).toMatchObject({ code: 'database_unreachable' })
    const unknown = await service.request('/status/00000000-0000-4000-8000-000000000000')
    expect([unknown.status, await unknown.json()]).toMatchObject([
      503,
      { code: 'database_unreachable' },
    ])
    const hasEnded = () => service.journal().some(({ event }) => event === 'end')
    await vi.waitUntil(hasEnded, { timeout: 30_000 })

    proxy.goUp()
    expect(await service.until(running)).toMatchObject({ status: 'success', attempt: 1 })
    const { jobs } = await service.json<{ jobs: { prompt: string }[] }>('/jobs')
    expect(jobs.map(({ prompt }) => prompt)).toEqual(['running'])
    await service.until(await service.submit({ prompt: 'afterwards' }))
  })

  it('goes on after a crash of its server, with every job it has confirmed', async () => {
    const service = await startService({ env: { ...(await aDatabase()), SIM_SPEED: '300' } })
    const ids: string[] = []
    for (let n = 0; n < 12; n++) {
      ids.push(await service.submit({ prompt: `job ${n}`, steps: 10 }))
      if (n % 5 === 2) {
        await server().stop('SIGKILL')
        await server().startAgain()
      }
    }
    for (const id of ids) expect(await service.until(id)).toMatchObject({ status: 'success' })
    expect(service.journal().filter(({ event }) => event === 'start')).toHaveLength(12)
  })

  it.runIf(canMount)(
    'refuses jobs while the disk of its server is full, and loses none',
    async () => {
      const disk = aSmallDisk({ mib: 48, files: 10_000 })
      const DATABASE_URL = await server().createDatabase({ directory: disk.path })
      const service = await startService({ env: { DATABASE_URL, SIM_SPEED: '30' } })
      const running = await service.submit({ prompt: 'running', steps: 20 })
      await service.until(running, isGenerating)
      disk.fill()
      // Some rows find room in pages that are there.
      const refusals = async () => {
        const { status } = await service.post({ ...quick, prompt: 'x'.repeat(2_000) })
        return status
      }
      const statuses: number[] = []
      while (statuses.at(-1) !== 507 && statuses.length < 500) statuses.push(await refusals())
      expect(new Set(statuses)).toEqual(new Set([202, 507]))
      expect((await service.request('/health')).status).toBe(200)
      disk.makeRoom()
      expect(await service.until(running)).toMatchObject({ status: 'success', attempt: 1 })
      await service.submit({ prompt: 'afterwards' })
      const { jobs } = await service.json<{ jobs: unknown[] }>('/jobs?limit=200')
      expect(jobs).toHaveLength(statuses.length - 1 + 2)
    },
  )

  it('waits at its start for a server that does not answer yet', async () => {
    const { DATABASE_URL } = await aDatabase()
    const proxy = await aBreakingProxy(DATABASE_URL)
    proxy.goDown()
    const starting = startService({ env: { DATABASE_URL: proxy.url } })
    setTimeout(proxy.goUp, 1_500)
    const service = await starting
    expect(
      service.lines().filter(({ msg }) => msg.startsWith('waiting for PostgreSQL')),
    ).toHaveLength(1)
  })

  it('ends with status 0 within seconds when it is stopped while it waits at its start', async () => {
    const { DATABASE_URL } = await aDatabase()
    const proxy = await aBreakingProxy(DATABASE_URL)
    proxy.goDown()
    const child = spawn(process.execPath, [main], {
      env: serviceEnvironment(aDataDirectory(), { DATABASE_URL: proxy.url }),
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    let output = ''
    child.stdout.on('data', (bytes) => {
      output += bytes
    })
    const ended = once(child, 'exit')
    await vi.waitUntil(() => output.includes('waiting for PostgreSQL'), { timeout: 30_000 })
    child.kill('SIGTERM')
    // The server never answers: it would wait for ever.
    expect(await ended).toEqual([0, null])
  })

  it('does not start beside another one of the same name, and says where that is', async () => {
    const env = { ...(await aDatabase()), NODE_NAME: 'a' }
    const first = await startService({ env })
    await expect(startService({ env })).rejects.toThrow(
      `another machine of this cluster is called "a" and works at ${first.url}`,
    )
  })

  it('takes the name of one of another machine that has stopped, and waits for one that has died', async () => {
    const env = { ...(await aDatabase()), NODE_LOST_S: '3' }
    const first = await startService({ env })
    await first.stop()
    const second = await startService({ env })
    await second.stop('SIGKILL')
    await startService({ env })
  })

  it('ends when another one leads, and its generations go on', async () => {
    const env = { ...(await aDatabase()), SIM_SPEED: '30' }
    const service = await startService({ env })
    const id = await service.submit({ prompt: 'goes on', steps: 50 })
    await service.until(id, isGenerating)
    const ended = once(service.child, 'exit')
    await takeTerm(env.DATABASE_URL)
    expect((await ended)[0]).toBe(1)
    expect(service.log('this node leaves the cluster')).toHaveLength(1)
    const next = await startService({ dataDir: service.dataDir, env })
    expect(await next.until(id)).toMatchObject({ status: 'success', attempt: 1 })
  })

  it.each<[what: string, change: (url: URL) => void, why: RegExp]>([
    ['a wrong password', (url) => (url.password = 'no'), /password authentication failed/],
    [
      'a database that is not there',
      (url) => (url.pathname = '/no'),
      /database "no" does not exist/,
    ],
  ])('does not start with %s', async (_, change, why) => {
    const { DATABASE_URL } = await aDatabase()
    const url = new URL(DATABASE_URL)
    change(url)
    await expect(startService({ env: { DATABASE_URL: url.href } })).rejects.toThrow(why)
  })

  it('does not start with an empty database where there are files of earlier jobs', async () => {
    const dataDir = aDataDirectory()
    const before = await startService({ dataDir, env: { DATABASE_URL: '' } })
    await before.until(await before.submit({ prompt: 'earlier' }))
    await before.stop()
    const env = await aDatabase()
    const expectRefusal = () =>
      expect(startService({ dataDir, env })).rejects.toThrow(
        /has no jobs, but .* earlier jobs .*wanctl migrate --to/,
      )
    await expectRefusal()
    expect(await inDatabase(env.DATABASE_URL, tablesIn)).toEqual([])
    await migratePostgres(env.DATABASE_URL)
    await expectRefusal()
  })

  it('does not start where the SQLite database has open jobs, until they are moved or set aside', async () => {
    const dataDir = aDataDirectory()
    const slow = { SIM_SPEED: '5', GPU_IDS: '0' }
    const before = await startService({ dataDir, env: { ...slow, DATABASE_URL: '' } })
    await before.until(await before.submit({ prompt: 'runs [sim:hang-step]' }), isGenerating)
    await before.submit({ prompt: 'waits' })
    const { pid } = await before.latestStart()
    await before.stop()
    const env = { ...(await aDatabase()), ...slow }
    const stateDb = join(dataDir, 'state.db')
    const start = () => startService({ dataDir, env })
    await expect(start()).rejects.toThrow(
      /state\.db has 2 jobs that have not ended and are not in PostgreSQL at .*\. Move them: wanctl migrate --to/,
    )
    const nodeUrl = { NODE_URL: 'http://127.0.0.1:0', PORT: '0' }
    const doctor = () =>
      wanctl(['doctor', '--json'], { env: { ...env, ...nodeUrl, DATA_DIR: dataDir } })
    expect((await doctor()).stdout).toContain(`${stateDb} has 2 jobs that have not ended`)

    const other = await startService({ env })
    await other.submit({ prompt: 'of another machine' })
    await other.stop()
    await expect(start()).rejects.toThrow(
      /has other jobs, and wanctl migrate needs a database without jobs\..* move that file, and .*state\.db-wal/,
    )
    expect(isAlive(pid)).toBe(true)
    renameSync(stateDb, `${stateDb}.aside`)
    const without = await start()
    const { jobs } = await without.json<{ jobs: JobJson[] }>('/jobs')
    expect(jobs.map(({ prompt }) => prompt)).toEqual(['of another machine'])
    await vi.waitFor(() => expect(isAlive(pid)).toBe(false), { timeout: 20_000 })
  })

  it('starts with open jobs in the SQLite database that were moved, also after their records were deleted', async () => {
    const dataDir = aDataDirectory()
    const before = await startService({ dataDir, env: { DATABASE_URL: '', GPU_IDS: '0' } })
    const id = await before.submit({ prompt: 'moved [sim:hang-step]' })
    await before.stop()
    const env = { ...(await aDatabase()), GPU_IDS: '0' }
    const moved = await wanctl(['migrate', '--to', env.DATABASE_URL, '--json'], {
      env: { ...env, DATA_DIR: dataDir, NODE_NAME: 'a' },
    })
    expect(moved).toMatchObject({ code: 0 })
    const named = { ...env, NODE_NAME: 'a' }
    const first = await startService({ dataDir, env: named })
    await first.request(`/jobs?ids=${id}`, { method: 'DELETE' })
    await first.submit({ prompt: 'later' })
    await first.stop()
    await inDatabase(env.DATABASE_URL, async (db) => {
      await sql`delete from attempt where job_id = ${id}`.execute(db)
      await sql`delete from job where id = ${id}`.execute(db)
    })
    const again = await startService({ dataDir, env: named })
    expect(await again.json('/jobs')).toMatchObject({ jobs: [{ prompt: 'later' }] })
  })

  it.each<[what: string, change: (running: Service) => NodeJS.ProcessEnv, why: RegExp]>([
    ['its name', () => ({}), /another machine of this cluster is called "a"/],
    ['its port', ({ url }) => ({ NODE_NAME: 'b', PORT: new URL(url).port }), /EADDRINUSE/],
    [
      'its directory of results',
      () => ({ NODE_NAME: 'b', RESULTS_SHARED: '1', RESULTS_DIR: aDataDirectory() }),
      /runs without it\. Stop all nodes/,
    ],
  ])(
    'that is refused for %s leaves the schema of an earlier version as it is',
    async (_, change, why) => {
      const env = { ...(await aDatabase()), NODE_NAME: 'a', SIM_SPEED: '300' }
      const earlier = await startService({ env })
      // Its queue has been loaded by then.
      await earlier.until(await earlier.submit({ prompt: 'before' }))
      const last = await inDatabase(env.DATABASE_URL, undoLastMigration)
      const refused = startService({ env: { ...env, ...change(earlier) } })
      await expect(refused).rejects.toThrow(why)
      expect(await inDatabase(env.DATABASE_URL, migrationsIn)).not.toContain(last)
      await startService({ env: { ...env, NODE_NAME: 'c' } })
      expect(await inDatabase(env.DATABASE_URL, migrationsIn)).toContain(last)
      expect(await earlier.until(await earlier.submit({ prompt: 'a' }))).toMatchObject({
        status: 'success',
      })
    },
  )

  it('goes on when a newer version changes the schema, and is not started again', async () => {
    const env = { ...(await aDatabase()), SIM_SPEED: '300' }
    const service = await startService({ env })
    await server().query(
      new URL(env.DATABASE_URL).pathname.slice(1),
      `insert into kysely_migration values ('999-of-tomorrow', '');
       alter table job add column of_tomorrow text;
       alter table attempt add column of_tomorrow text;
       alter table node add column of_tomorrow text`,
    )
    expect(await service.until(await service.submit({ prompt: 'a' }))).toMatchObject({
      status: 'success',
    })
    await service.stop()
    await expect(startService({ dataDir: service.dataDir, env })).rejects.toThrow(
      /newer version .*999-of-tomorrow/,
    )
  })
})

const migrationsIn = async (db: Kysely<never>): Promise<readonly string[]> => {
  const { rows } = await sql<{ name: string }>`select name from kysely_migration`.execute(db)
  return rows.map(({ name }) => name)
}

async function tablesIn(db: Kysely<never>): Promise<readonly string[]> {
  const { rows } = await sql<{ name: string }>`
    select table_name as name from information_schema.tables where table_schema = 'public'
  `.execute(db)
  return rows.map(({ name }) => name)
}

/** Leaves the schema of the version before, and resolves with the name of the migration. */
async function undoLastMigration(db: Kysely<never>): Promise<string> {
  const last = Object.entries(migrations).at(-1)
  if (!last) throw new Error('there are no migrations')
  const [name, { down }] = last
  await down(db)
  await sql`delete from kysely_migration where name = ${name}`.execute(db)
  return name
}

async function inDatabase<Result>(
  url: string,
  work: (db: Kysely<never>) => Promise<Result>,
): Promise<Result> {
  const fence = { term: undefined, onOver() {} }
  const pool = await createPool(url, { max: 1 })
  const db = new Kysely<never>({ dialect: createPostgresDialect(pool, { fence }) })
  try {
    return await work(db)
  } finally {
    await db.destroy()
  }
}
