/** Records and files after kills, restored backups, and changes by hand. */
import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { jobId } from '../support/jobs.ts'
import { aFileOf } from '../support/mp4.ts'
import { pastName, writePastVideos } from '../support/past-videos.ts'
import { aDataDirectory, quick, type Service, startService } from '../support/service.ts'
import { isOnPostgres } from '../support/store/shared-postgres.ts'

const env = { GPU_IDS: '0' }
const deleted = { method: 'DELETE' }

type Deletion = Readonly<{
  deleted: { id: string; filename: string }[]
  not_found: string[]
  kept?: { id: string; filename: string; reason: string }[]
}>

const fileIn = (dataDir: string, name: string): string => join(dataDir, 'results', name)

const problemOf = async (response: Response) => ({
  status: response.status,
  ...((await response.json()) as { code: string }),
})

async function jobsOf(service: Service): Promise<JobJson[]> {
  const jobs: JobJson[] = []
  for (let after = ''; ; ) {
    const path = `/jobs?limit=200${after && `&after=${after}`}`
    const page = await service.json<{ jobs: JobJson[]; next_after: string | null }>(path)
    jobs.push(...page.jobs)
    if (page.next_after === null) return jobs
    after = page.next_after
  }
}

/** Jobs that are said to have a file, and have none. */
const deceived = async (service: Service) =>
  (await jobsOf(service)).filter(
    ({ file_url, filename }) =>
      file_url !== null && !existsSync(fileIn(service.dataDir, String(filename))),
  )

describe('a service that is killed', { timeout: 150_000 }, () => {
  it.each([
    ['early', 15],
    ['halfway', 75],
    ['late', 130],
  ])('%s in DELETE /videos?all=true names no file that is gone', async (_when, kill) => {
    const dataDir = aDataDirectory()
    const count = 160
    await writePastVideos(dataDir, count)
    const left = () => readdirSync(join(dataDir, 'results')).length
    const first = await startService({ dataDir, env })
    const cutOff = first.request('/videos?all=true', deleted).catch(() => 'cut off')
    await vi.waitUntil(() => left() <= count - kill, { interval: 0, timeout: 45_000 })
    await first.stop('SIGKILL')
    expect(await cutOff).toBe('cut off')
    expect(left()).toBeGreaterThan(0)

    const second = await startService({ dataDir, env })
    expect(await deceived(second)).toEqual([])
    const named = async () => (await jobsOf(second)).filter(({ file_url }) => file_url !== null)
    // A leader asks again for a removal that a node did not confirm, after a minute at the latest.
    await expect.poll(async () => (await named()).length, { timeout: 90_000 }).toBe(left())
    for (const { file_lost } of await jobsOf(second)) expect(file_lost).toBe(null)
    const remaining = left()
    const rest = await second.json<Deletion>('/videos?all=true', deleted)
    expect(rest).toMatchObject({ deleted: { length: remaining }, not_found: [] })
    expect(left()).toBe(0)
  })
})

describe('a file that is removed by hand', () => {
  it('is missing in the record after a restart, with no request for it, and found when it is back', async () => {
    const dataDir = aDataDirectory()
    await writePastVideos(dataDir, 3)
    const path = fileIn(dataDir, pastName(2))
    renameSync(path, join(dataDir, 'aside'))
    const first = await startService({ dataDir, env })
    const lost = await first.until(jobId(2), ({ file_lost }) => file_lost !== null)
    expect(lost).toMatchObject({
      status: 'success',
      file_url: null,
      file: null,
      file_lost: 'missing',
    })
    expect(await first.status(jobId(1))).toMatchObject({ file_lost: null, file_deleted_at: null })
    const problem = await problemOf(await first.request(`/files/${pastName(2)}`))
    expect(problem).toMatchObject({ status: 404, code: 'video_not_found' })
    await first.stop('SIGKILL')

    renameSync(join(dataDir, 'aside'), path)
    const second = await startService({ dataDir, env })
    const found = await second.until(jobId(2), ({ file_url }) => file_url !== null)
    expect(found).toMatchObject({ file_lost: null, file_deleted_at: null })
    expect((await second.request(`/files/${pastName(2)}`)).status).toBe(200)
  })

  it('is missing in the record once somebody has asked for it', async () => {
    const service = await startService({ env })
    const { id, filename } = await service.until(await service.submit({ prompt: 'a fox' }))
    rmSync(fileIn(service.dataDir, String(filename)))
    for (const path of [`/files/${filename}`, `/v1/videos/video_${id}/content`]) {
      expect((await service.request(path)).status).toBe(404)
    }
    await service.until(id, ({ file_lost }) => file_lost === 'missing')
    expect((await service.request(`/v1/videos/video_${id}`, deleted)).status).toBe(200)
  })
})

describe('something else in the place of a video', () => {
  it('is neither sent nor deleted, and the record says so', async () => {
    const dataDir = aDataDirectory()
    const replace: Record<number, (path: string) => void> = {
      2: (path) => writeFileSync(path, 'film'),
      3: (path) => writeFileSync(path, aFileOf(jobId(99))),
      4: (path) => mkdirSync(path),
      5: (path) => execFileSync('mkfifo', [path]),
    }
    await writePastVideos(dataDir, 6)
    const service = await startService({ dataDir, env })
    for (const [n, put] of Object.entries(replace)) {
      const path = fileIn(dataDir, pastName(Number(n)))
      rmSync(path)
      put(path)
      // Nothing waits for the other end of a FIFO, nor do the others behind it.
      for (const url of [`/files/${pastName(Number(n))}`, `/jobs/${jobId(Number(n))}/thumbnail`]) {
        const problem = await problemOf(await service.request(url))
        expect([url, problem]).toMatchObject([url, { status: 404, code: 'video_replaced' }])
      }
      await service.until(jobId(Number(n)), ({ file_lost }) => file_lost === 'replaced')
    }
    const answer = await service.json<Deletion>('/videos?all=true', deleted)
    expect(answer.deleted.map(({ filename }) => filename)).toEqual([pastName(1), pastName(6)])
    expect(readdirSync(join(dataDir, 'results')).toSorted()).toEqual([2, 3, 4, 5].map(pastName))
    for (const n of [2, 4]) {
      const gone = await service.request(`/v1/videos/video_${jobId(n)}`, deleted)
      expect(gone.status).toBe(200)
      expect(lstatSync(fileIn(dataDir, pastName(n)))).toBeDefined()
    }
  })

  it('does not keep the others from being deleted, and the answer names it', async () => {
    const dataDir = aDataDirectory()
    await writePastVideos(dataDir, 5)
    const service = await startService({ dataDir, env })
    for (const n of [2, 3]) rmSync(fileIn(dataDir, pastName(n)))
    mkdirSync(fileIn(dataDir, pastName(2)))
    const names = [1, 2, 3, 4].map(pastName)
    const answer = await service.json<Deletion>(`/videos?filenames=${names}`, deleted)
    expect(answer).toEqual({
      deleted: [1, 4].map((n) => ({ id: jobId(n), filename: pastName(n) })),
      not_found: [pastName(3)],
      kept: [
        { id: jobId(2), filename: pastName(2), reason: expect.stringContaining('not deleted') },
      ],
    })
  })
})

describe.skipIf(isOnPostgres)('a restored backup', () => {
  const tokens = { ada: `ada-${crypto.randomUUID()}`, bob: `bob-${crypto.randomUUID()}` }
  const API_TOKENS = `ada:${tokens.ada},bob:${tokens.bob}`

  /** What an operator copies with the service stopped. */
  const backUp = (dataDir: string, name: string) => {
    mkdirSync(join(dataDir, name))
    for (const file of readdirSync(dataDir).filter((one) => one.startsWith('state.db'))) {
      copyFileSync(join(dataDir, file), join(dataDir, name, file))
    }
  }
  const restore = (dataDir: string, name: string) => {
    for (const file of readdirSync(dataDir).filter((one) => one.startsWith('state.db'))) {
      rmSync(join(dataDir, file))
    }
    cpSync(join(dataDir, name), dataDir, { recursive: true })
  }

  it('gives nobody the video of another client that has the name by now', async () => {
    const dataDir = aDataDirectory()
    const filename = 'fox.mp4'
    const first = await startService({ dataDir, env: { ...env, API_TOKENS } })
    const ada = first.as(tokens.ada)
    const job = await ada.until(await ada.submit({ prompt: 'a fox', filename }))
    await first.stop()
    backUp(dataDir, 'monday')
    const second = await startService({ dataDir, env: { ...env, API_TOKENS } })
    await second.as(tokens.ada).request(`/videos?ids=${job.id}`, deleted)
    const bob = second.as(tokens.bob)
    await bob.until(await bob.submit({ prompt: 'a secret', filename, seed: 5 }))
    const secret = readFileSync(fileIn(dataDir, filename))
    await second.stop()
    restore(dataDir, 'monday')

    const third = (await startService({ dataDir, env: { ...env, API_TOKENS } })).as(tokens.ada)
    for (const path of [`/files/${filename}`, `/v1/videos/video_${job.id}/content`]) {
      expect([path, (await third.request(path)).status]).toEqual([path, 404])
    }
    await third.until(job.id, ({ file_lost }) => file_lost === 'replaced')
    await third.request(`/videos?ids=${job.id}`, deleted)
    expect((await third.request(`/v1/videos/video_${job.id}`, deleted)).status).toBe(200)
    expect(readFileSync(fileIn(dataDir, filename)).equals(secret)).toBe(true)
    const again = await third.post({ prompt: 'b', ...quick, filename: 'Fox.mp4' })
    expect(again.status).toBe(409)
  })

  it('generates again what was being converted, or takes the video that was made of it since', async () => {
    const dataDir = aDataDirectory()
    const first = await startService({ dataDir, env })
    const id = await first.submit({ prompt: 'a fox', frames: 121 })
    await first.until(id, ({ stage }) => stage === 'converting')
    await first.stop('SIGKILL')
    backUp(dataDir, 'monday')
    const second = await startService({ dataDir, env })
    const made = await second.until(id)
    expect(made).toMatchObject({ status: 'success', attempt: 1 })
    await expect.poll(() => readdirSync(join(dataDir, 'work'))).toEqual([])
    await second.stop()

    restore(dataDir, 'monday')
    const third = await startService({ dataDir, env })
    expect(await third.until(id)).toMatchObject({ status: 'success', attempt: 1, file: made.file })
    expect(third.journal().filter(({ event }) => event === 'start')).toHaveLength(1)
    await third.stop()

    restore(dataDir, 'monday')
    rmSync(fileIn(dataDir, String(made.filename)))
    const fourth = await startService({ dataDir, env })
    expect(await fourth.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    expect(fourth.journal().filter(({ event }) => event === 'start')).toHaveLength(2)
  })
})

describe('a video that was published just before a kill', () => {
  /** As if the service had been killed between the name of the file and the record. */
  const publish = (dataDir: string, id: string, filename: string) => {
    const comment = `comment=wan-supervisor job ${id} seed 1`
    const source = ['-f', 'lavfi', '-i', 'color=s=64x64:d=0.1']
    const to = fileIn(dataDir, filename)
    execFileSync('ffmpeg', ['-v', 'error', ...source, '-metadata', comment, '-f', 'mp4', to])
  }

  it('is gone when its job is canceled during the second conversion, and its name is free', async () => {
    const dataDir = aDataDirectory()
    const filename = 'fox.mp4'
    const first = await startService({ dataDir, env })
    const id = await first.submit({ prompt: 'a fox', frames: 121, filename, seed: 1 })
    await first.until(id, ({ stage }) => stage === 'converting')
    await first.stop('SIGKILL')
    publish(dataDir, id, filename)

    const second = await startService({ dataDir, env })
    await second.until(id, ({ stage }) => stage === 'converting')
    await second.request(`/jobs?ids=${id}`, deleted)
    expect(await second.until(id)).toMatchObject({ status: 'canceled' })
    expect(readdirSync(join(dataDir, 'results'))).toEqual([])
    const next = await second.until(await second.submit({ prompt: 'an owl', filename }))
    expect(next).toMatchObject({ status: 'success', filename })
  })

  it('is gone when the cancel was recorded before the kill', async () => {
    const dataDir = aDataDirectory()
    const filename = 'fox.mp4'
    const first = await startService({ dataDir, env })
    const id = await first.submit({ prompt: 'a fox', frames: 121, filename, seed: 1 })
    await first.until(id, ({ stage }) => stage === 'converting')
    void first.request(`/jobs?ids=${id}`, deleted).catch(() => {})
    await first.until(id, (job) => job.cancel_requested || job.status === 'canceled')
    await first.stop('SIGKILL')
    publish(dataDir, id, filename)

    const second = await startService({ dataDir, env })
    const { status } = await second.until(id)
    expect(status).toBe('canceled')
  })
})

describe('a filename', () => {
  it('is refused in other letters while a job, a video or a file has it', async () => {
    const service = await startService({ env })
    const submit = async (filename: string) =>
      (await service.post({ prompt: 'a fox', size: '1280x720', frames: 5, steps: 4, filename }))
        .status
    const id = await service.submit({ prompt: 'a fox', filename: 'Émile.mp4' })
    for (const alike of ['émile.mp4', 'E\u0301MILE.mp4']) expect(await submit(alike)).toBe(409)
    await service.until(id)
    for (const alike of ['émile.mp4', 'E\u0301MILE.mp4']) expect(await submit(alike)).toBe(409)
    writeFileSync(fileIn(service.queue.dataDir, 'STRASSE.mp4'), 'film')
    expect(await submit('Straße.mp4')).toBe(409)
    await service.request(`/videos?ids=${id}`, deleted)
    expect(await submit('émile.mp4')).toBe(202)
  })
})
