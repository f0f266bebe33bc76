/** Short trouble of the machine: the queue waits for its end, and no job pays for it. */
import { cpSync, readdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { forkServerOf, identify } from '../../bench/chaos/processes.ts'
import { root } from '../../src/config/root.ts'
import type { Check } from '../../src/domain/check.ts'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { aSmallDisk, canMount } from '../support/disk/small-disk.ts'
import { aProcessGroup, canLimitProcesses, canSetLimits, setLimit } from '../support/limits.ts'
import { aDataDirectory, quick, type Service, startService } from '../support/service.ts'
import { isOnPostgres } from '../support/store/shared-postgres.ts'

const held = 'no job is claimed: the environment fails'
const wellAgain = 'jobs are claimed again: the environment works'

describe('while WAN_DIR is away, a service', { timeout: 120_000 }, () => {
  it('starts no job, says why, and goes on by itself when it is back', async () => {
    const { service, wanDir } = await aServiceWithCheckout()
    const ids = await submitMany(service, 12)
    await service.until(ids[0] ?? '', ({ status }) => status !== 'queued')
    renameSync(wanDir, `${wanDir}-away`)
    const isSeen = async () => (await check(service, 'generate.py'))?.ok === false
    await vi.waitUntil(isSeen, { timeout: 20_000 })
    await expect.poll(() => service.log(held), { timeout: 10_000 }).toHaveLength(1)
    const last = await service.status(ids.at(-1) ?? '')
    expect(last).toMatchObject({ status: 'queued', waiting_for: 'environment', eta_seconds: null })
    expect((await service.request('/ready')).status).toBe(503)

    renameSync(`${wanDir}-away`, wanDir)
    await expectAllWell(service, ids)
    expect(service.log(held)).toHaveLength(1)
    expect(service.log(wellAgain)).toHaveLength(1)
    await expect.poll(async () => (await service.request('/ready')).status).toBe(200)
  })

  it('loses no job either when a part of the checkout is away, which no check sees', async () => {
    const { service, wanDir } = await aServiceWithCheckout()
    const ids = await submitMany(service, 6)
    await service.until(ids[0] ?? '', ({ status }) => status !== 'queued')
    renameSync(join(wanDir, 'wan'), join(wanDir, 'wan-away'))
    await vi.waitUntil(async () => !(await check(service, 'environment'))?.ok, { timeout: 30_000 })
    const metrics = await (await service.queue.request('/metrics')).text()
    expect(metrics).toContain('wan_queue_held{reason="environment"} 1')

    renameSync(join(wanDir, 'wan-away'), join(wanDir, 'wan'))
    await expectAllWell(service, ids)
  })
})

describe('without a checkpoint, a service', () => {
  it('lets jobs wait until it is there', async () => {
    const dataDir = aDataDirectory()
    const checkpoint = join(dataDir, 'elsewhere')
    const env = { WAN_CKPT_DIR: checkpoint, SIM_CHECK_CKPT: '1', MAX_ATTEMPTS: '1' }
    const service = await startService({ dataDir, env })
    await expect.poll(() => service.log(held)).toHaveLength(1)
    const ids = await submitMany(service, 4)
    for (const id of ids) {
      expect(await service.status(id)).toMatchObject({
        status: 'queued',
        waiting_for: 'environment',
        attempt: 0,
      })
    }
    expect(service.journal()).toEqual([])
    renameSync(join(dataDir, 'checkpoint'), checkpoint)
    await expectAllWell(service, ids)
  })

  it('works all the same if a probe shows that it is there in another form', async () => {
    const env = { WAN_CKPT_DIR: '/nowhere' }
    const service = await startService({ env })
    await expect.poll(() => service.log(held)).toHaveLength(1)
    await expectAllWell(service, await submitMany(service, 3))
    expect(await check(service, 'checkpoint')).toMatchObject({ ok: false })
    expect(service.log(wellAgain)).toHaveLength(1)
  })
})

describe.runIf(canLimitProcesses)(
  'when no process can be started, a service',
  { timeout: 120_000 },
  () => {
    it('loses no job, and starts them when there can be processes again', async () => {
      const service = await startService()
      const group = aProcessGroup(service.child.pid ?? 0)
      const forkServer = await forkServerPid(service)
      group.add(forkServer)
      group.close()
      const ids = await submitMany(service, 12)
      await expect.poll(() => service.log(held), { timeout: 20_000 }).not.toHaveLength(0)
      expect((await service.request('/health')).status).toBe(200)
      // By a standing check or by an attempt, whichever is first to need a process.
      const cause = expect.stringMatching(/EAGAIN|Resource temporarily unavailable/)
      expect(service.log(held)[0]).toMatchObject({ reason: cause })

      group.open()
      await expectAllWell(service, ids)
    })
  },
)

describe.runIf(canSetLimits)('when its fork server has no descriptors left, a service', () => {
  it('converts every video as soon as there are some', { timeout: 120_000 }, async () => {
    const service = await startService({ env: { MAX_CONVERSIONS: '2' } })
    const ids = await submitMany(service, 8)
    const forkServer = await forkServerPid(service)
    await service.until(ids[0] ?? '', ({ status }) => status !== 'queued')
    setLimit(forkServer, 'nofile', 6)
    await vi.waitUntil(
      () => service.allLogs().includes('Too many open files') || service.log(held).length > 0,
      { timeout: 30_000 },
    )
    setLimit(forkServer, 'nofile', 1_024)
    await expectAllWell(service, ids)
    expect(readdirSync(join(service.dataDir, 'results')).length).toBe(ids.length)
  })
})

describe.runIf(!isOnPostgres && canSetLimits)(
  'when the database cannot be written for a reason that SQLite does not know',
  () => {
    it('answers 507, lives on, and takes jobs as soon as it can write', async () => {
      const service = await startService()
      const before = await service.until(await service.submit({ prompt: 'before' }))
      // Every write fails with EFBIG, which SQLite reports as it does EDQUOT: as SQLITE_IOERR_WRITE.
      setLimit(service.child.pid ?? 0, 'fsize', 1)
      for (let time = 0; time < 8; time++) {
        const refused = await service.post({ ...quick, prompt: 'refused' })
        expect(refused.status).toBe(507)
        expect(await refused.json()).toMatchObject({ code: 'disk_full' })
      }
      expect(await service.status(before.id)).toMatchObject({ status: 'success' })
      expect(service.child.exitCode).toBeNull()
      setLimit(service.child.pid ?? 0, 'fsize', 'unlimited')
      await expectAllWell(service, [await aSubmission(service)])
      expect(service.log('actor crashed; it will be started again')).toEqual([])
    })
  },
)

describe.runIf(canMount)('when a disk runs out of inodes, a service', { timeout: 120_000 }, () => {
  it('takes and starts no job, and goes on when files have been deleted', async () => {
    const disk = aSmallDisk({ files: 400 })
    const elsewhere = aDataDirectory()
    const env = {
      ...{ GPU_IDS: '0', MIN_FREE_DISK_MB: '2', RESULTS_DIR: join(disk.path, 'results') },
      ...{ SIM_JOURNAL: join(elsewhere, 'journal'), SIM_STATE_DIR: elsewhere },
    }
    const service = await startService({ dataDir: disk.path, env })
    const busy = await service.submit({ prompt: 'busy [sim:step=0.5]' })
    const waiting = await submitMany(service, 3)
    await service.until(busy, ({ stage }) => stage === 'denoising')
    disk.fillWithFiles({ leaving: 0 })
    await vi.waitUntil(async () => !(await check(service, 'disk'))?.ok, { timeout: 15_000 })
    expect((await check(service, 'disk'))?.detail).toContain('inodes')
    const refused = await service.post({ ...quick, prompt: 'refused' })
    expect(refused.status).toBe(507)
    expect(await refused.text()).toContain('inodes')
    expect(await service.status(waiting[0] ?? '')).toMatchObject({ waiting_for: 'disk' })

    disk.makeRoom()
    await expectAllWell(service, [busy, ...waiting])
  })
})

describe('a job that fails as if the environment were broken, and alone', {
  timeout: 120_000,
}, () => {
  it('keeps others waiting for seconds only, and ends as an error', async () => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    const poison = await service.submit({ prompt: 'poison [sim:module-missing]' })
    const others = await submitMany(service, 8)
    await expectAllWell(service, others)
    const job = await service.until(poison)
    expect(job).toMatchObject({ status: 'error', error: { code: 'environment_broken' } })
    expect((await service.request('/ready')).status).toBe(200)
  })
})

describe('a generation that hangs while it loads', { timeout: 120_000 }, () => {
  it('holds up other GPUs for a bounded time, and everybody can see it', async () => {
    const service = await startService({ env: { MAX_CONCURRENT_LOADS: '1', DEFAULT_JOB_S: '5' } })
    const hung = await service.submit({ prompt: 'hung [sim:hang-load]' })
    await service.until(hung, ({ status }) => status === 'running')
    await expectAllWell(service, await submitMany(service, 2))
    expect(await service.status(hung)).toMatchObject({ status: 'running' })
    const { gpus } = await service.json<{
      gpus: { id: number; loading_unusually_long: boolean }[]
    }>('/gpus')
    expect(gpus.filter((gpu) => gpu.loading_unusually_long)).toHaveLength(1)
    expect(await check(service, 'loading')).toMatchObject({
      ok: true,
      detail: expect.stringContaining('unusually long'),
    })
    const metrics = await (await service.queue.request('/metrics')).text()
    expect(metrics).toMatch(/wan_gpu_loading_unusually_long\{gpu="\d"\} 1/)
  })
})

async function aServiceWithCheckout() {
  const dataDir = aDataDirectory()
  const wanDir = join(dataDir, 'checkout')
  cpSync(join(root, 'sim'), wanDir, { recursive: true })
  return { wanDir, service: await startService({ dataDir, env: { WAN_DIR: wanDir } }) }
}

async function submitMany(service: Service, count: number): Promise<string[]> {
  const ids: string[] = []
  for (let n = 1; n <= count; n++) ids.push(await service.submit({ prompt: `fox ${n}` }))
  return ids
}

/** The first submission that is accepted. */
async function aSubmission(service: Service): Promise<string> {
  let id: string | undefined
  const isTaken = async () => {
    const response = await service.post({ ...quick, prompt: 'after' })
    if (response.status !== 202) return false
    id = ((await response.json()) as { id: string }).id
    return true
  }
  await vi.waitUntil(isTaken, { timeout: 15_000, interval: 100 })
  return id ?? ''
}

/** Each at its first attempt: trouble of the machine costs none. */
async function expectAllWell(service: Service, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    const job: JobJson = await service.until(id)
    expect(job, JSON.stringify(job.error)).toMatchObject({ status: 'success', attempt: 1 })
  }
}

async function check(service: Service, name: string): Promise<Check | undefined> {
  const { checks } = (await (await service.request('/ready')).json()) as { checks: Check[] }
  return checks.find((one) => one.name === name)
}

async function forkServerPid(service: Service): Promise<number> {
  const self = identify(service.child.pid ?? 0)
  await vi.waitUntil(() => self && forkServerOf(self), { timeout: 10_000 })
  return (self && forkServerOf(self))?.pid ?? 0
}
