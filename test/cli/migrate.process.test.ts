import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Client } from 'pg'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { openClusterDatabase } from '../../src/cluster/database.ts'
import { numberGpus, readGpuPlaces } from '../../src/cluster/gpu-numbers.ts'
import type { InputImage } from '../../src/domain/job.ts'
import { soleNode } from '../../src/domain/node.ts'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { imageOf } from '../../src/infra/disk/data-directory.ts'
import { migrateToLatest } from '../../src/infra/store/migrate.ts'
import { migratePostgres } from '../../src/infra/store/postgres/migrate-postgres.ts'
import { openDatabase } from '../../src/infra/store/sqlite/database.ts'
import { createJobStore } from '../../src/infra/store/sqlite/sqlite-job-store.ts'
import type { StoreOperation } from '../../src/infra/store/store-operations.ts'
import { wanctl } from '../support/cli.ts'
import { gpu1, jobId } from '../support/jobs.ts'
import { aDataDirectory, startService } from '../support/service.ts'
import { aBreakingProxy } from '../support/store/breaking-proxy.ts'
import { missing, openStores, usePostgresServer } from '../support/store/postgres-stores.ts'
import {
  began,
  claim,
  finish,
  made,
  numbersOf,
  submit,
  success,
} from '../support/store-suites/operations.ts'

vi.setConfig({ testTimeout: 120_000 })

type Submit = Extract<StoreOperation, { op: 'submit' }>

describe.skipIf(missing)('wanctl migrate', () => {
  const server = usePostgresServer()
  const onSqlite = { DATABASE_URL: '' }
  const migrate = (dataDir: string, DATABASE_URL: string, env: NodeJS.ProcessEnv = {}) =>
    wanctl(['migrate', '--json'], {
      env: { DATA_DIR: dataDir, DATABASE_URL, GPU_IDS: '0,1', ...env },
    })

  /** A data directory whose database has these jobs and nothing else. */
  async function aDatabaseOf(jobs: number): Promise<string> {
    const dataDir = aDataDirectory()
    await inDatabase(dataDir, async (store) => {
      await store.commit(made(1))
      const rest = Array.from({ length: jobs - 1 }, (_, n) =>
        submit(n + 2, { prompt: `${n} Füchse 🦊 'im' \0 "Schnee"` }),
      )
      await store.commit(rest)
    })
    return dataDir
  }

  async function inDatabase(
    dataDir: string,
    work: (store: ReturnType<typeof createJobStore>) => Promise<void>,
  ): Promise<void> {
    const { db, close } = openDatabase(join(dataDir, 'state.db'))
    await migrateToLatest(db)
    await work(createJobStore(db))
    await close()
  }

  const withImage = ({ request, ...submit }: Submit, image: InputImage): StoreOperation => ({
    ...submit,
    request: { ...request, image },
  })

  async function imagesIn(url: string): Promise<(readonly [string, Buffer])[]> {
    const client = new Client(url)
    await client.connect()
    try {
      const { rows } = await client.query<{ job_id: string; bytes: Buffer }>(
        'select * from image order by job_id',
      )
      return rows.map(({ job_id, bytes }) => [job_id, bytes])
    } finally {
      await client.end()
    }
  }

  it('moves an installation whose jobs, places, webhooks and videos are there afterwards, and whose generation goes on', async () => {
    const env = { SIM_SPEED: '30', GPU_IDS: '0', NODE_NAME: 'Gpu-7' }
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
    const moved = await wanctl(['migrate'], {
      env: { ...env, DATA_DIR: dataDir, DATABASE_URL: database },
    })
    expect(moved).toMatchObject({ code: 0 })
    expect(moved.stdout).toMatch(
      /^Moved and compared: 3 jobs with 2 attempts and 0 images, and 1 webhooks\. GPU 0 belongs to node "gpu-7"/,
    )

    const after = await startService({ dataDir, env: { ...env, DATABASE_URL: database } })
    const { file_url, thumbnail_url, ...rest } = shownBefore
    expect(await after.status(done)).toMatchObject({ ...rest, node: 'gpu-7' })
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

  it('moves the images of open jobs, reports those that are not on the disk, and moves them when they are', async () => {
    const dataDir = await aDatabaseOf(1)
    const picture = (n: number) => Buffer.from(`picture ${n}`)
    const image = (n: number): InputImage => ({
      ...{ type: 'png', width: 64, height: 64, bytes: picture(n).length },
      sha256: createHash('sha256').update(picture(n)).digest('hex'),
    })
    const numbers = [2, 3, 4, 5, 6]
    await inDatabase(dataDir, async (store) => {
      await store.commit(numbers.map((n) => withImage(submit(n) as Submit, image(n))))
      await store.commit([claim(2), claim(3, 1, { gpu: gpu1 }), began(3), finish(3, success)])
    })
    const place = (n: number) => imageOf({ workDir: join(dataDir, 'work') }, jobId(n))
    const write = (n: number, bytes = picture(n)) => {
      mkdirSync(dirname(place(n)), { recursive: true })
      writeFileSync(place(n), bytes)
    }
    for (const n of [2, 3, 4]) write(n)
    write(5, Buffer.from('cut off'))

    const database = await server().createDatabase()
    const moved = await migrate(dataDir, database)
    expect(moved).toMatchObject({ code: 0 })
    const images = { moved: 2, missing: [jobId(5), jobId(6)] }
    expect(JSON.parse(moved.stdout)).toMatchObject({ outcome: 'moved', images })
    expect(moved.stderr).toContain(`The image of job ${jobId(6)} is not in work/`)
    const inTarget = () => imagesIn(database)
    expect(await inTarget()).toEqual([2, 4].map((n) => [jobId(n), picture(n)]))

    write(5)
    write(6)
    const again = await migrate(dataDir, database)
    const all = { moved: 4, missing: [] }
    expect(JSON.parse(again.stdout)).toMatchObject({ outcome: 'was there already', images: all })
    expect(await inTarget()).toEqual([2, 4, 5, 6].map((n) => [jobId(n), picture(n)]))
    expect(existsSync(place(2))).toBe(true)
  })

  it('gives this node the numbers that its GPUs have, and those of GPUs that it had, and leaves it drained', async () => {
    const dataDir = await aDatabaseOf(2)
    await inDatabase(dataDir, async (store) => {
      await store.commit([{ op: 'setNodeDrained', node: soleNode, drained: true }])
    })
    const database = await server().createDatabase()
    await migratePostgres(database)
    const { beats, close } = await openClusterDatabase({ url: database })
    onTestFinished(close)
    // A service that had no jobs yet has numbered other GPUs.
    await numberGpus(beats, { name: 'other', home: 'another' }, [{ device: '0' }, { device: '1' }])
    const env = { NODE_NAME: 'gpu-7', GPU_IDS: '3,GPU-5a' }
    const moved = await migrate(dataDir, database, env)
    expect(JSON.parse(moved.stdout)).toMatchObject({ gpus: [0, 1, 3], node: 'gpu-7' })
    const node = 'gpu-7'
    const places = new Map([
      [0, { node, device: '0' }],
      [1, { node, device: 'GPU-5a' }],
      [3, { node, device: '3' }],
    ])
    expect(await readGpuPlaces(beats)).toEqual(places)
    const again = await migrate(dataDir, database, env)
    expect(again).toMatchObject({ code: 0 })
    expect(await readGpuPlaces(beats)).toEqual(places)
    expect((await beats.query('select name from drained_node')).rows).toEqual([{ name: node }])
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
    const hidden = { GPU_IDS: '', NVIDIA_VISIBLE_DEVICES: 'none' }
    const unknown = await migrate(await aDatabaseOf(2), database, hidden)
    expect(unknown).toMatchObject({ code: 1 })
    expect(unknown.stderr).toContain('Set GPU_IDS to what the service has')
    const unnamed = await migrate(await aDatabaseOf(2), database, { NODE_NAME: 'gpu 7' })
    expect(unnamed.code).not.toBe(0)
    expect(unnamed.stderr).toContain('NODE_NAME must be 1 to 63 letters')
    const nowhere = await wanctl(['migrate'], { env: { DATA_DIR: await aDatabaseOf(2) } })
    expect(nowhere).toMatchObject({ code: 2 })
    expect(nowhere.stderr).toContain('--to postgres://')
    const wrong = await migrate(await aDatabaseOf(2), 'mysql://root:secret@host/db')
    expect(wrong).toMatchObject({ code: 1 })
    expect(wrong.stderr).toContain('DATABASE_URL must be a URL')
    expect(wrong.stderr).not.toContain('secret')
  })
})
