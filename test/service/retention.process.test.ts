/** What becomes of jobs in time, and what is kept of them, in the real service. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import http from 'node:http'
import { join } from 'node:path'
import SQLite from 'better-sqlite3'
import * as v from 'valibot'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { QueueOperation } from '../../src/actors/queue/queue-ports.ts'
import { JobId } from '../../src/domain/job.ts'
import type { VideoJson } from '../../src/http/v1/video-view.ts'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { contentSignature } from '../../src/infra/media/video-signature.ts'
import { aRequest, aVideo, fromAnybody, gpu0, jobId } from '../support/jobs.ts'
import { aFileOf } from '../support/mp4.ts'
import { aPicture } from '../support/pictures.ts'
import { startReceiver } from '../support/receiver.ts'
import {
  aDataDirectory,
  createShared,
  quick,
  type Service,
  type ServiceClient,
  startService,
} from '../support/service.ts'
import { recordEarlier } from '../support/store/earlier-records.ts'
import { isFollower, isOnPostgres } from '../support/store/shared-postgres.ts'

/** Sweeps come every five seconds, and each service takes some to start. */
vi.setConfig({ testTimeout: 120_000 })

/** A retention of some seconds: the unit is days, and a part of one will do. */
const seconds = (count: number): string => (count / (24 * 60 * 60)).toFixed(9)

const problemOf = async (response: Response) => ({
  status: response.status,
  ...((await response.json()) as { code: string; detail: string; expired_at?: string }),
})

const post = (service: ServiceClient, path: string, body?: object) =>
  service.request(path, {
    method: 'POST',
    ...(body && {
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    }),
  })

type Purged = {
  dry_run: boolean
  jobs: number
  bytes: number
  oldest: string | null
  newest: string | null
  kept: number
  complete: boolean
}

async function purge(service: ServiceClient, body?: object): Promise<Purged> {
  const response = await post(service, '/admin/purge', body)
  const answer = (await response.json()) as Purged
  expect(response.status, JSON.stringify(answer)).toBe(200)
  return answer
}

const untilGone = (service: Service, id: string) =>
  vi.waitUntil(async () => (await service.request(`/status/${id}`)).status === 410, {
    timeout: 45_000,
    interval: 100,
  })

const finished = async (service: Service, body: object = { prompt: 'a fox' }): Promise<JobJson> =>
  service.until(await service.submit(body))

/** Everything on disk that has the name of this job, or is its video. */
function filesOf({ dataDir }: Pick<Service, 'dataDir'>, job: Pick<JobJson, 'id' | 'filename'>) {
  // No deeper: what a job has worked with may be on its way out just then.
  const names = ['work', 'results', 'logs', 'previews'].flatMap((directory) =>
    readdirSync(join(dataDir, directory)).map((name) => `${directory}/${name}`),
  )
  return names.filter((name) => name.includes(job.id) || name === `results/${job.filename}`)
}

function rowOf({ dataDir }: Pick<Service, 'dataDir'>, id: string): Record<string, unknown> {
  const db = new SQLite(join(dataDir, 'state.db'), { readonly: true })
  try {
    return db.prepare('select * from job where id = ?').get(id) as Record<string, unknown>
  } finally {
    db.close()
  }
}

describe('RETENTION_DAYS', () => {
  it.skipIf(isOnPostgres)(
    'lets jobs expire with all that belongs to them, and says since when they are gone',
    async () => {
      const service = await startService({ env: { RETENTION_DAYS: seconds(3) } })
      const prompt = 'a fox that nobody is to remember'
      const pinnedId = await service.submit({ prompt: 'a fox to be kept' })
      expect((await post(service, `/jobs/${pinnedId}/pin`)).status).toBe(200)
      const job = await finished(service, { prompt })
      const failed = await finished(service, { prompt: `${prompt} [sim:bad-args]` })
      expect(Date.parse(String(job.expires_at)) - Date.parse(String(job.ended_at))).toBe(3_000)
      const { expires_at } = await service.json<VideoJson>(`/v1/videos/video_${job.id}`)
      expect(expires_at).toBe(Math.floor(Date.parse(String(job.expires_at)) / 1_000))
      await expect.poll(() => filesOf(service, job)).toHaveLength(2)

      await untilGone(service, job.id)
      await untilGone(service, failed.id)
      expect(filesOf(service, job)).toEqual([])
      expect(filesOf(service, failed)).toEqual([])
      const expired = await problemOf(await service.request(`/status/${job.id}`))
      expect(expired).toMatchObject({ status: 410, code: 'job_expired' })
      expect(Date.parse(String(expired.expired_at))).toBeGreaterThan(
        Date.parse(String(job.expires_at)),
      )
      for (const [method, path] of [
        ['GET', `/jobs/${job.id}`],
        ['GET', `/jobs/${job.id}/log`],
        ['GET', `/jobs/${job.id}/events`],
        ['POST', `/jobs/${job.id}/pin`],
        ['DELETE', `/jobs?ids=${job.id}`],
      ] as const) {
        const problem = await problemOf(await service.request(path, { method }))
        expect(problem, path).toMatchObject({ ...expired, status: 410 })
      }
      expect(await problemOf(await service.request(`/files/${job.filename}`))).toMatchObject({
        status: 410,
        code: 'video_expired',
        expired_at: expired.expired_at,
      })
      for (const [method, path] of [
        ['GET', `/v1/videos/video_${job.id}`],
        ['GET', `/v1/videos/video_${job.id}/content`],
        ['DELETE', `/v1/videos/video_${job.id}`],
        ['POST', `/v1/videos/video_${job.id}/remix`],
      ] as const) {
        const response = await service.request(path, { method })
        expect([response.status, await response.json()], path).toMatchObject([
          410,
          {
            error: {
              code: 'video_expired',
              message: expect.stringContaining(expired.expired_at ?? '-'),
            },
          },
        ])
      }
      const lists = ['/jobs', '/videos', '/v1/videos', `/jobs/lookup?prompt=${prompt}`]
      for (const path of lists) {
        expect(await (await service.request(path)).text()).not.toContain(job.id)
      }
      for (const { id } of [job, failed]) {
        expect(JSON.stringify(rowOf(service, id))).not.toContain('nobody is to remember')
      }
    },
  )

  it('keeps what is pinned, and only until it is unpinned', async () => {
    const service = await startService({ env: { RETENTION_DAYS: seconds(2) } })
    const id = await service.submit({ prompt: 'a fox to be kept' })
    const pinned = (await (await post(service, `/jobs/${id}/pin`)).json()) as JobJson
    expect(pinned).toMatchObject({ id, pinned: true, expires_at: null })
    const job = await service.until(id)
    const other = await finished(service)
    await untilGone(service, other.id)
    expect(await service.status(id)).toMatchObject({ pinned: true, expires_at: null })
    await expect.poll(() => filesOf(service, job)).toHaveLength(2)
    const idsOf = async (path: string) =>
      Object.values(await service.json<Record<string, { id: string }[]>>(path))[0]?.map(
        (one) => one.id,
      )
    for (const list of ['/jobs', '/videos']) {
      expect(await idsOf(`${list}?pinned=true`)).toEqual([id])
      expect(await idsOf(`${list}?pinned=false`)).toEqual([])
    }
    const again = await post(service, `/jobs/${id}/pin`)
    expect([again.status, await again.json()]).toMatchObject([200, { pinned: true }])
    const unpinned = await post(service, `/jobs/${id}/unpin`)
    expect(await unpinned.json()).toMatchObject({ pinned: false, expires_at: expect.any(String) })
    await untilGone(service, id)
  })

  it('does not believe a clock by which all is over its time, and says so', async () => {
    const first = await startService()
    const job = await finished(first)
    await first.stop()
    const service = await startService({
      dataDir: first.dataDir,
      env: { RETENTION_DAYS: seconds(0.001), MAX_RESULTS_GB: '1' },
    })
    const said = 'by this clock every job is over its time; for 24 hours nothing expires by age'
    await expect.poll(() => service.queue.log(said)).toHaveLength(1)
    // Whoever knows better has a way that needs no patience.
    expect(await service.status(job.id)).toMatchObject({ status: 'success' })
    expect(await purge(service, { dry_run: false, older_than_days: 0 })).toMatchObject({ jobs: 1 })
    expect((await service.request(`/status/${job.id}`)).status).toBe(410)
  })

  it('waits until webhooks are over', async () => {
    const spare = await startReceiver()
    await spare.stop()
    const service = await startService({
      env: { RETENTION_DAYS: seconds(1), WEBHOOK_ALLOW: '127.0.0.1' },
    })
    const webhook_url = `http://127.0.0.1:${spare.port}/hook`
    const told = await finished(service, { prompt: 'a fox to be told of', webhook_url })
    const other = await finished(service)
    await untilGone(service, other.id)
    expect(await service.status(told.id)).toMatchObject({ status: 'success' })
    const counted = await purge(service, { older_than_days: 0 })
    expect(counted).toMatchObject({ jobs: 0, kept: 1 })
    const receiver = await startReceiver({ port: spare.port })
    const [received] = await receiver.until(1)
    expect(received?.event.data).toMatchObject({ id: told.id, file_url: told.file_url })
    await untilGone(service, told.id)
  })

  // A node that joins after the hourly order of the leader gets the next one.
  it.skipIf(isFollower)('clears away logs and archived work that belong to no job', async () => {
    const dataDir = aDataDirectory()
    const old = new Date(Date.now() - 2 * 24 * 60 * 60_000)
    const make = (name: string, at = new Date()) => {
      const path = join(dataDir, name)
      mkdirSync(join(path, '..'), { recursive: true })
      writeFileSync(path, '')
      utimesSync(path, at, at)
      return path
    }
    const strays = [make(`logs/${jobId(1)}.log`, old), make(`archive/${jobId(2)}`, old)]
    const kept = [
      make(`logs/${jobId(3)}.log`),
      make(`archive/${jobId(4)}`),
      make('logs/notes.log', old),
      make('results/somebodys.mp4', old),
    ]
    const service = await startService({ dataDir })
    const job = await finished(service)
    await service.stop()
    const ofJob = join(dataDir, 'logs', `${job.id}.log`)
    utimesSync(ofJob, old, old)
    expect(strays.filter(existsSync)).toEqual(strays)
    await startService({ dataDir, env: { RETENTION_DAYS: '1' } })
    await expect.poll(() => strays.filter(existsSync)).toEqual([])
    expect([...kept, ofJob].filter(existsSync)).toEqual([...kept, ofJob])
  })
})

describe('MAX_RESULTS_GB', () => {
  it('takes the oldest videos that are not pinned until the others fit', async () => {
    const dataDir = aDataDirectory()
    await makeJobs(dataDir, 30)
    const first = await startService({ dataDir })
    expect((await post(first, `/jobs/${jobId(1)}/pin`)).status).toBe(200)
    await first.stop('SIGKILL')

    // Four bytes each: there is room for seven, of which one is pinned.
    const env = { MAX_RESULTS_GB: (28 / 1024 ** 3).toFixed(15), GPU_IDS: '0' }
    const service = await startService({ dataDir, env })
    await untilGone(service, jobId(24))
    await expect.poll(() => service.log('jobs expired')).toMatchObject([{ jobs: 23, bytes: 92 }])
    const left = readdirSync(join(dataDir, 'results')).toSorted()
    expect(left).toEqual([1, 25, 26, 27, 28, 29, 30].map((n) => `made-${n}.mp4`).toSorted())
    const failed = await finished(service, { prompt: 'a fox [sim:bad-args]' })
    const next = await finished(service)
    await untilGone(service, next.id)
    expect(await service.status(jobId(1))).toMatchObject({ status: 'success', pinned: true })
    expect(await service.status(failed.id)).toMatchObject({ status: 'error' })
  })
})

describe.skipIf(isOnPostgres)('a download', () => {
  /** Bigger than what lies between two ends of a connection, so that who does not read holds it up. */
  async function aBigVideo(service: Service): Promise<JobJson & { sha256: string }> {
    const job = await finished(service)
    const bytes = aFileOf(v.parse(JobId, job.id), 48 * 1024 ** 2)
    const path = join(service.dataDir, 'results', String(job.filename))
    writeFileSync(`${path}.new`, bytes)
    renameSync(`${path}.new`, path)
    await recordAsPublished(service, job.id, path)
    return { ...job, sha256: createHash('sha256').update(bytes).digest('hex') }
  }

  /** As if the service had published this file. */
  async function recordAsPublished(service: Service, id: string, path: string): Promise<void> {
    const handle = await open(path)
    const { size } = await handle.stat()
    const signature = await contentSignature(handle, size)
    await handle.close()
    const db = new SQLite(join(service.dataDir, 'state.db'))
    const change =
      "update job set video = json_set(video, '$.bytes', ?, '$.signature', ?) where id = ?"
    db.prepare(change).run(size, signature, id)
    db.close()
    // The service keeps records in memory until it changes them itself.
    for (const change of ['pin', 'unpin']) await post(service, `/jobs/${id}/${change}`)
  }

  async function slowly({ url }: Service, path: string): Promise<http.IncomingMessage> {
    const [response] = (await once(http.get(`${url}${path}`), 'response')) as [http.IncomingMessage]
    expect(response.statusCode).toBe(200)
    await once(response, 'readable')
    response.read(1)
    return response
  }

  async function restOf(response: http.IncomingMessage, first: Buffer): Promise<string> {
    const hash = createHash('sha256').update(first)
    for await (const chunk of response) hash.update(chunk as Buffer)
    expect(response.complete).toBe(true)
    return hash.digest('hex')
  }

  it('keeps its file from expiring, and gets all of it', async () => {
    const service = await startService({ env: { GPU_IDS: '0', RETENTION_DAYS: seconds(8) } })
    const job = await aBigVideo(service)
    const path = join(service.dataDir, 'results', String(job.filename))
    const first = readFileSync(path).subarray(0, 1)
    const slow = await slowly(service, `/files/${job.filename}`)
    const other = await finished(service)
    await untilGone(service, other.id)
    expect(await service.status(job.id)).toMatchObject({ status: 'success' })
    const purged = await purge(service, { dry_run: false, older_than_days: 0 })
    expect(purged).toMatchObject({ jobs: 0, kept: 1 })
    // A player that asks for a piece now and one later is not cut off either.
    const Range = `bytes=1000-1999`
    const piece = await service.request(`/files/${job.filename}`, { headers: { Range } })
    expect([piece.status, (await piece.arrayBuffer()).byteLength]).toEqual([206, 1_000])
    expect(await restOf(slow, first)).toBe(job.sha256)
    expect((await service.request(`/files/${job.filename}`, { headers: { Range } })).status).toBe(
      206,
    )
  })

  it('gets all of its file even though that is deleted on request', async () => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    const job = await aBigVideo(service)
    const path = join(service.dataDir, 'results', String(job.filename))
    const first = readFileSync(path).subarray(0, 1)
    const slow = await slowly(service, `/v1/videos/video_${job.id}/content`)
    expect((await service.request(`/v1/videos/video_${job.id}`, { method: 'DELETE' })).status).toBe(
      200,
    )
    expect(existsSync(path)).toBe(false)
    expect(await restOf(slow, first)).toBe(job.sha256)
  })
})

describe('POST /admin/purge', () => {
  const shared = createShared()
  let service: Service
  beforeAll(async () => {
    service = await startService({ atEnd: shared.atEnd, env: { GPU_IDS: '0' } })
  })
  afterAll(shared.clearAway)

  it('says what would go, and takes it when it is told to', async () => {
    const success = await finished(service)
    const error = await finished(service, { prompt: 'a fox [sim:bad-args]' })
    const pinned = await finished(service)
    await post(service, `/jobs/${pinned.id}/pin`)
    const running = await service.submit({ prompt: 'a fox [sim:hang-step]' })
    await service.until(running, ({ stage }) => stage === 'denoising')
    const queued = await service.submit({ prompt: 'a fox' })

    const all = {
      jobs: 2,
      bytes: success.file?.bytes,
      oldest: success.ended_at,
      newest: error.ended_at,
      kept: 0,
      complete: true,
    }
    for (const body of [undefined, {}, { older_than_days: 0 }, { dry_run: true }]) {
      expect(await purge(service, body)).toEqual({ dry_run: true, ...all })
    }
    expect(await purge(service, { older_than_days: 1 })).toMatchObject({ jobs: 0, oldest: null })
    expect(await purge(service, { max_bytes: pinned.file?.bytes })).toMatchObject({ jobs: 1 })
    expect(await purge(service, { max_bytes: 10 ** 12 })).toMatchObject({ jobs: 0 })
    expect((await service.status(success.id)).file_url).not.toBeNull()

    const failures = await purge(service, { dry_run: false, status: ['error'] })
    expect(failures).toMatchObject({ dry_run: false, jobs: 1, bytes: 0, oldest: error.ended_at })
    expect((await service.request(`/status/${error.id}`)).status).toBe(410)
    expect((await service.request(`/status/${success.id}`)).status).toBe(200)
    expect(await purge(service, { dry_run: false, older_than_days: 0 })).toMatchObject({
      jobs: 1,
      bytes: success.file?.bytes,
    })
    expect(service.log('jobs purged')).toMatchObject([{ jobs: 1 }, { jobs: 1, by: null }])
    expect((await service.request(`/status/${success.id}`)).status).toBe(410)
    for (const [id, status] of [
      [pinned.id, 'success'],
      [running, 'running'],
      [queued, 'queued'],
    ] as const) {
      expect(await service.status(id)).toMatchObject({ status })
    }
  })

  it.each<[body: object, field: string | undefined, says: string]>([
    [{ dry_run: false }, undefined, 'say what goes: older_than_days, status or max_bytes'],
    [{ dry_run: 'no', status: ['error'] }, 'dry_run', 'true or false'],
    [{ older_than_days: -1 }, 'older_than_days', 'a number from 0 to 36500'],
    [{ status: ['running'] }, 'status.0', 'success, error, canceled'],
    [{ max_bytes: 0.5 }, 'max_bytes', 'a whole number'],
    [{ all: true }, 'all', 'is not a known field'],
  ])('refuses %j', async (body, field, says) => {
    const problem = await problemOf(await post(service, '/admin/purge', body))
    expect(problem).toMatchObject({ status: 422, code: 'invalid_request', ...(field && { field }) })
    expect(problem.detail).toContain(says)
  })

  it.skipIf(isOnPostgres)(
    'that is cut off by kill -9 leaves nothing that cannot go the next time',
    async () => {
      const dataDir = aDataDirectory()
      const count = 400
      await makeJobs(dataDir, count)
      const env = { RETENTION_DAYS: '0' }
      const first = await startService({ dataDir, env })
      const results = () => readdirSync(join(dataDir, 'results')).length
      const cutOff = purge(first, { dry_run: false, older_than_days: 0 }).catch(() => 'cut off')
      await vi.waitUntil(() => results() < count - 50, { interval: 1, timeout: 45_000 })
      await first.stop('SIGKILL')
      expect(await cutOff).toBe('cut off')
      const left = results()
      expect(left).toBeGreaterThan(0)

      const service = await startService({ dataDir, env })
      const db = new SQLite(join(dataDir, 'state.db'), { readonly: true })
      const gone = db.prepare('select filename from job where expired_at is not null').pluck().all()
      db.close()
      // Files are deleted before the record: a job that has expired has no file either.
      for (const filename of gone)
        expect(existsSync(join(dataDir, 'results', String(filename)))).toBe(false)
      expect(gone.length).toBeGreaterThan(0)
      const rest = await purge(service, { dry_run: false, older_than_days: 0 })
      // What was announced before the kill is completed, or taken back and purged again.
      expect(rest).toMatchObject({ jobs: left, complete: true })
      expect(results()).toBe(0)
      expect(readdirSync(join(dataDir, 'logs'))).toEqual([])
      for (const n of [1, count]) {
        expect((await service.request(`/status/${jobId(n)}`)).status).toBe(410)
      }
    },
  )

  it('leaves to a waiting job what that needs', async () => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    const source = await finished(service, { prompt: 'a fox', seed: 11 })
    const busy = await service.submit({ prompt: 'busy [sim:hang-step]' })
    await service.until(busy, ({ stage }) => stage === 'denoising')
    const remixed = await post(service, `/v1/videos/video_${source.id}/remix`, { prompt: 'a wolf' })
    const remix = (await remixed.json()) as VideoJson
    const form = new FormData()
    const picture = aPicture(aDataDirectory(), 'a.png')
    for (const [name, value] of Object.entries({ ...quick, prompt: 'from a picture' })) {
      form.set(name, String(value))
    }
    form.set('image', new File([readFileSync(picture)], 'a.png'))
    const withImage = await service.request('/generate', { method: 'POST', body: form })
    const { id: fromImage } = (await withImage.json()) as { id: string }

    expect(await purge(service, { dry_run: false, older_than_days: 0 })).toMatchObject({ jobs: 1 })
    expect((await service.request(`/status/${source.id}`)).status).toBe(410)
    await service.request(`/jobs?ids=${busy}`, { method: 'DELETE' })
    expect(await service.until(remix.id.slice('video_'.length))).toMatchObject({
      status: 'success',
      seed: 11,
    })
    expect(await service.until(fromImage)).toMatchObject({ status: 'success' })
    const shown = await service.json<VideoJson>(`/v1/videos/${remix.id}`)
    expect(shown.remixed_from_video_id).toBe(`video_${source.id}`)
  })
})

/** Jobs that have ended some days ago, with files of a few bytes. */
async function makeJobs(dataDir: string, count: number): Promise<void> {
  const operations: QueueOperation[] = []
  for (let n = 1; n <= count; n++) {
    const of = { jobId: jobId(n), at: Date.now() - 3 * 24 * 60 * 60_000 + n }
    const filename = `made-${n}.mp4`
    const outcome = { status: 'success', video: aVideo({ bytes: 4 }) } as const
    operations.push(
      { op: 'submit', ...of, seq: n, request: aRequest(), ...fromAnybody },
      { op: 'claim', ...of, epoch: 1, attempt: 1, gpu: gpu0, filename },
      { op: 'finish', ...of, epoch: 1, outcome },
    )
  }
  await recordEarlier(dataDir, operations)
  for (let n = 1; n <= count; n++) {
    writeFileSync(join(dataDir, 'results', `made-${n}.mp4`), 'film')
    writeFileSync(join(dataDir, 'logs', `${jobId(n)}.log`), 'said')
  }
}
