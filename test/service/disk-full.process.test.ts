import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, existsSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { main } from '../../bench/built.ts'
import type { Check } from '../../src/domain/check.ts'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { aSmallDisk, canMount } from '../support/disk/small-disk.ts'
import {
  aDataDirectory,
  killLeftovers,
  processesOf,
  quick,
  readJournal,
  type Service,
  serviceEnvironment,
  startService,
} from '../support/service.ts'
import { isOnPostgres } from '../support/store/shared-postgres.ts'

const shortage = 'a disk is short of room; no job is taken or begun until there is more'
const conversionWaits = 'the environment fails a conversion; it is tried again until it succeeds'
const roomAgain = 'there is room on every disk again'

describe.runIf(canMount && !isOnPostgres)('on a full disk, a service', () => {
  it('takes no job, loses none, and goes on by itself when there is room', async () => {
    const disk = aSmallDisk()
    const { service, journal } = await aServiceOn(disk.path)
    const busy = await service.submit({ prompt: 'busy [sim:step=1]', steps: 10 })
    await service.until(busy, ({ stage }) => stage === 'denoising')
    const waiting = await service.submit({ prompt: 'waiting' })
    disk.fill()

    const refused = await service.post({ ...quick, prompt: 'refused' })
    expect(refused.status).toBe(507)
    expect(await refused.json()).toMatchObject({ code: 'disk_full' })
    expect((await service.request('/health')).status).toBe(200)
    await expect.poll(() => service.log(shortage), { timeout: 15_000 }).toHaveLength(1)
    expect((await service.post({ ...quick, prompt: 'refused' })).status).toBe(507)

    // Whether it found room enough for its video is chance; that it is told as it is, is not.
    const hasGenerated = ({ status, stage }: JobJson) =>
      status !== 'running' || stage === 'converting'
    const after = await service.until(busy, hasGenerated)
    expect(after.error?.code ?? 'disk_full').toBe('disk_full')
    expect(await service.status(waiting)).toMatchObject({ status: 'queued' })
    expect((await service.request('/health')).status).toBe(200)

    disk.makeRoom()
    await expect.poll(() => service.log(roomAgain), { timeout: 15_000 }).toHaveLength(1)
    for (const id of [busy, waiting]) await expectWhole(service, await service.until(id))
    await expectWhole(service, await service.until(await service.submit({ prompt: 'later' })))
    const { jobs } = await service.json<{ jobs: JobJson[] }>('/jobs')
    expect(jobs.map(({ prompt }) => prompt)).not.toContain('refused')
    expect(jobs).toHaveLength(3)
    const attempts = await Promise.all(jobs.map(({ id }) => attemptsOf(service, id)))
    const starts = journal().filter(({ event }) => event === 'start')
    expect(starts.length).toBeLessThanOrEqual(attempts.flat().length)
    expect(jobs.map(({ attempt }) => attempt)).toEqual([1, 1, 1])
  })

  it('can be killed and started again, and still has every job', async () => {
    const disk = aSmallDisk()
    const first = await aServiceOn(disk.path)
    const done = await first.service.until(await first.service.submit({ prompt: 'done' }))
    const busy = await first.service.submit({ prompt: 'busy [sim:hang-step]' })
    await first.service.until(busy, ({ stage }) => stage === 'denoising')
    const waiting = await first.service.submit({ prompt: 'waiting' })
    disk.fill()
    await first.service.stop('SIGKILL')

    const service = await startService({ dataDir: disk.path, env: settings(aDataDirectory()) })
    expect((await service.request('/health')).status).toBe(200)
    expect(await service.status(done.id)).toEqual(done)
    expect((await service.request(done.file_url ?? '')).status).toBe(200)
    expect(await service.status(busy)).toMatchObject({ status: 'running', attempt: 1 })
    expect(await service.status(waiting)).toMatchObject({ status: 'queued' })
    expect((await service.post({ ...quick, prompt: 'refused' })).status).toBe(507)

    disk.makeRoom()
    await service.request(`/jobs?ids=${busy}`, { method: 'DELETE' })
    await expectWhole(service, await service.until(waiting))
  })

  it('can be told to cancel, and to delete videos, which makes room', async () => {
    const disk = aSmallDisk()
    const { service } = await aServiceOn(disk.path)
    const done = await service.until(await service.submit({ prompt: 'done' }))
    const busy = await service.submit({ prompt: 'busy [sim:hang-step]' })
    await service.until(busy, ({ stage }) => stage === 'denoising')
    const waiting = await service.submit({ prompt: 'waiting' })
    disk.fill()
    await expect.poll(() => service.log(shortage), { timeout: 15_000 }).toHaveLength(1)

    const cancel = `/jobs?ids=${busy},${waiting}`
    expect((await service.request(cancel, { method: 'DELETE' })).status).toBe(200)
    expect(await service.status(busy)).toMatchObject({ status: 'canceled' })
    expect(await service.status(waiting)).toMatchObject({ status: 'canceled' })
    expect(processesOf(`WAN_ATTEMPT=${busy}`)).toEqual([])
    const deleted = await service.request(`/videos?ids=${done.id}`, { method: 'DELETE' })
    expect(deleted.status).toBe(200)
    expect((await service.status(done.id)).file_deleted_at).not.toBeNull()
  })

  it('does not mind that its own log is there', async () => {
    const disk = aSmallDisk()
    const logFile = join(disk.path, 'service.log')
    const log = () => readFileSync(logFile, 'utf8')
    const child = spawn(process.execPath, [main], {
      stdio: ['ignore', openSync(logFile, 'a'), 'inherit'],
      env: serviceEnvironment(disk.path, settings(aDataDirectory())),
    })
    onTestFinished(() => {
      child.kill('SIGKILL')
      killLeftovers(disk.path)
    })
    await expect.poll(log, { timeout: 20_000 }).toContain('queue restored')
    await hasSettled(disk.path)
    const [, url] = /"url":"([^"]+)"/.exec(log()) ?? []
    // Else the last page of the file has room for some lines more.
    appendFileSync(logFile, '\n'.repeat(4096 - (statSync(logFile).size % 4096)))
    disk.fill()
    const post = async () => {
      const headers = { 'Content-Type': 'application/json' }
      const body = JSON.stringify({ ...quick, prompt: 'a fox' })
      return (await fetch(`${url}/generate`, { method: 'POST', headers, body })).status
    }
    expect(await post()).toBe(507)
    const knowsOfIt = async () => {
      const { checks } = (await (await fetch(`${url}/ready`)).json()) as { checks: Check[] }
      return checks.some(({ name, ok }) => name === 'disk' && !ok)
    }
    // It has logged a failed write by then, and the shortage itself.
    await expect.poll(knowsOfIt, { timeout: 15_000 }).toBe(true)
    expect(await post()).toBe(507)
    expect(log()).not.toContain('DiskFullError')
    expect((await fetch(`${url}/health`)).status).toBe(200)

    disk.makeRoom()
    await expect.poll(post, { timeout: 15_000 }).toBe(202)
    expect(log()).toContain('DiskFullError')
    appendFileSync(logFile, '\n'.repeat(4096 - (statSync(logFile).size % 4096)))
    disk.fill()
    child.kill('SIGTERM')
    expect(await once(child, 'exit')).toEqual([0, null])
  })
})

describe.runIf(canMount && !isOnPostgres)('with less room than MIN_FREE_DISK_MB, a service', () => {
  it('takes no job and begins none, says so once, and says when there is room again', async () => {
    const disk = aSmallDisk()
    const { service, journal } = await aServiceOn(disk.path, { MIN_FREE_DISK_MB: '10' })
    const busy = await service.submit({ prompt: 'busy [sim:step=0.5]', steps: 16 })
    await service.until(busy, ({ stage }) => stage === 'denoising')
    const waiting = await service.submit({ prompt: 'waiting' })
    disk.fill({ leaving: 8 * 1024 ** 2 })
    await expect.poll(() => service.log(shortage), { timeout: 15_000 }).toHaveLength(1)
    expect((await service.post({ ...quick, prompt: 'refused' })).status).toBe(507)

    await expectWhole(service, await service.until(busy))
    expect(await service.status(waiting)).toMatchObject({ status: 'queued', queue_position: 1 })
    expect(journal().map(({ event }) => event)).toEqual(['start', 'end'])

    disk.makeRoom()
    await expectWhole(service, await service.until(waiting))
    expect(service.log(shortage)).toHaveLength(1)
    expect(service.log(roomAgain)).toHaveLength(1)
  })
})

// Without MIN_FREE_DISK_MB, so that jobs run into it.
describe.runIf(canMount && !isOnPostgres)(
  'when only one of its directories is full, a service',
  () => {
    it('converts videos that find no room as soon as there is some, and leaves no half of one', async () => {
      const disk = aSmallDisk()
      const env = { RESULTS_DIR: join(disk.path, 'results'), MIN_FREE_DISK_MB: '0' }
      const { service, journal } = await aServiceOn(aDataDirectory(), env)
      const id = await service.submit({ prompt: 'a fox [sim:step=0.5]' })
      await service.until(id, ({ stage }) => stage === 'denoising')
      disk.fill()
      await expect.poll(() => service.log(conversionWaits), { timeout: 20_000 }).toHaveLength(1)
      expect(await service.status(id)).toMatchObject({ status: 'running', stage: 'converting' })
      disk.makeRoom()
      const job = await service.until(id)
      await expectWhole(service, job)
      expect(job.attempt).toBe(1)
      expect(journal().map(({ event }) => event)).toEqual(['start', 'end'])
      expect(readdirSync(join(disk.path, 'results'))).toEqual([job.filename])
    })

    it('finishes jobs that find no room for their log', async () => {
      const disk = aSmallDisk()
      const env = { LOGS_DIR: join(disk.path, 'logs'), MIN_FREE_DISK_MB: '0' }
      const { service } = await aServiceOn(aDataDirectory(), env)
      const id = await service.submit({ prompt: 'a fox [sim:step=0.5]' })
      await service.until(id, ({ stage }) => stage === 'denoising')
      disk.fill()
      await expectWhole(service, await service.until(id))
      expect((await service.request(`/jobs/${id}/log`)).status).toBeOneOf([200, 404])
    })

    it.each(['before it begins', 'while it runs'])(
      'has a job wait whose work files find no room %s',
      async (when) => {
        const disk = aSmallDisk()
        const { service } = await aServiceWithWorkOn(disk.path)
        if (when === 'before it begins') await drain(service)
        const id = await service.submit({ prompt: 'a fox [sim:step=0.5]' })
        if (when === 'while it runs') {
          await service.until(id, ({ stage }) => stage === 'denoising')
        }
        disk.fill()
        if (when === 'before it begins') await resume(service)
        await expectToWait(service, id)
        disk.makeRoom()
        const job = await service.until(id)
        await expectWhole(service, job)
        expect(job.attempt).toBe(1)
      },
    )

    // Two directories, the order, the shim's output, its claim, its socket, the generation's output.
    it.each([0, 1, 2, 3, 4, 5, 6, 7])(
      'has a job wait when there can be only %i more files',
      async (leaving) => {
        const disk = aSmallDisk({ files: 100 })
        const { service } = await aServiceWithWorkOn(disk.path)
        await drain(service)
        const id = await service.submit({ prompt: 'a fox' })
        disk.fillWithFiles({ leaving })
        await resume(service)
        await expectToWait(service, id)
        disk.makeRoom()
        const job = await service.until(id)
        await expectWhole(service, job)
        expect(job.attempt).toBe(1)
      },
    )

    it('writes down how jobs end into the room kept back for that, and keeps it back anew', async () => {
      const disk = aSmallDisk()
      const stateDb = join(disk.path, 'state.db')
      const { service } = await aServiceOn(aDataDirectory(), {
        STATE_DB: stateDb,
        MIN_FREE_DISK_MB: '0',
      })
      const hasReserve = () => existsSync(join(disk.path, 'reserve'))
      const busy = await service.submit({ prompt: 'busy [sim:step=0.4]' })
      await service.until(busy, ({ stage }) => stage === 'denoising')
      disk.fill()
      expect((await service.post({ ...quick, prompt: 'refused' })).status).toBe(507)
      expect(hasReserve()).toBe(true)

      await expectWhole(service, await service.until(busy))
      expect(hasReserve()).toBe(false)
      disk.makeRoom()
      await expect.poll(hasReserve, { timeout: 15_000 }).toBe(true)
      const post = async () => (await service.post({ ...quick, prompt: 'a fox' })).status
      await expect.poll(post, { timeout: 15_000 }).toBe(202)
    })
  },
)

it.skipIf(canMount)('is not tested: a small disk can only be mounted by root', () => {})

/** A service whose simulator keeps its own records elsewhere, where there is room. */
async function aServiceOn(dataDir: string, env: NodeJS.ProcessEnv = {}) {
  const elsewhere = aDataDirectory()
  const service = await startService({ dataDir, env: { ...settings(elsewhere), ...env } })
  await hasSettled(dataDir, env.STATE_DB)
  return { service, journal: () => readJournal(elsewhere) }
}

/** Its work files are on the disk, and nothing else is. */
async function aServiceWithWorkOn(dataDir: string) {
  const elsewhere = aDataDirectory()
  return aServiceOn(dataDir, {
    RESULTS_DIR: join(elsewhere, 'results'),
    LOGS_DIR: join(elsewhere, 'logs'),
    STATE_DB: join(elsewhere, 'state.db'),
    MIN_FREE_DISK_MB: '0',
  })
}

const attemptsOf = async (service: Service, id: string) =>
  (await service.json<{ attempts: object[] }>(`/jobs/${id}`)).attempts

const drain = (service: Service) => service.request('/gpus/0/drain', { method: 'POST' })
const resume = (service: Service) => service.request('/gpus/0/resume', { method: 'POST' })

/** Because the guard sees the full disk, or because an attempt has run into it before. */
async function expectToWait(service: Service, id: string): Promise<void> {
  const hasFailed = () =>
    service
      .log('job status')
      .some(({ failure }) => (failure as { code?: string } | undefined)?.code === 'disk_full')
  const waits = () => hasFailed() || service.log(shortage).length > 0
  await expect.poll(waits, { timeout: 30_000 }).toBe(true)
  expect((await service.status(id)).error).toBeNull()
}

/** Until then it writes, and removes, what is no part of the story. */
async function hasSettled(dataDir: string, stateDb = join(dataDir, 'state.db')): Promise<void> {
  const hasAll = () =>
    existsSync(join(dirname(stateDb), 'reserve')) &&
    existsSync(join(dataDir, 'backups')) &&
    readdirSync(join(dataDir, 'backups')).some((name) => name.endsWith('.db'))
  await expect.poll(hasAll, { timeout: 10_000 }).toBe(true)
}

const settings = (elsewhere: string): NodeJS.ProcessEnv => ({
  GPU_IDS: '0',
  MIN_FREE_DISK_MB: '2',
  SIM_JOURNAL: join(elsewhere, 'journal'),
  SIM_STATE_DIR: elsewhere,
})

async function expectWhole(service: Service, job: JobJson): Promise<void> {
  expect(job, JSON.stringify(job.error)).toMatchObject({ status: 'success' })
  const file = await service.request(job.file_url ?? '')
  expect(file.status).toBe(200)
  expect((await file.arrayBuffer()).byteLength).toBe(job.file?.bytes)
}
