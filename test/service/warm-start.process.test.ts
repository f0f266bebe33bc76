import { appendFileSync, cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { root } from '../../src/config/root.ts'
import type { GpuJson } from '../../src/http/views/gpu-view.ts'
import type { JobDetailJson } from '../../src/http/views/job-view.ts'
import { aDataDirectory, processesOf, type Service, startService } from '../support/service.ts'
import { isAlive, kill } from '../support/shim-attempt.ts'
import { isFollower } from '../support/store/shared-postgres.ts'

const warm = { WARM_START: 'on' }

async function figure(service: Service, series: string): Promise<number> {
  const text = await (await service.request('/metrics')).text()
  return Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${series} `))
      ?.split(' ')[1],
  )
}

const starts = (service: Service, start: 'warm' | 'cold' | 'fallback') =>
  figure(service, `wan_generation_starts_total{start="${start}"}`)

const becomes = (what: string, isSo: () => boolean | Promise<boolean>) =>
  vi.waitUntil(isSo, { timeout: 30_000, interval: 20 }).catch(() => {
    throw new Error(`it was never so: ${what}`)
  })

/** The n-th template of this service is used. */
const isReady = (service: Service, n = 1) =>
  becomes(`template ${n} is ready`, () => {
    const used = service.log('generations are forked from the template')
    return used.length >= n
  })

const nameOf = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
  } catch {
    return ''
  }
}

/** The setup that a template was started with: the arguments of all generations. */
const setupOf = (template: number): string => readFileSync(`/proc/${template}/cmdline`, 'utf8')

const named = (name: string, { dataDir }: Service) =>
  processesOf(dataDir).filter((pid) => nameOf(pid) === name && isAlive(pid))

const templatesOf = (service: Service) => named('wan-template', service)
const standbysOf = (service: Service) => named('wan-standby', service)

const hasStandby = (service: Service) =>
  becomes('a standby waits', () => standbysOf(service).length === 1)

async function aWarmService(env: NodeJS.ProcessEnv = {}, dataDir = aDataDirectory()) {
  const service = await startService({ dataDir, env: { ...warm, ...env } })
  await isReady(service)
  return service
}

describe('a service with WARM_START=auto, the default', () => {
  const auto = { WARM_START: undefined }
  const probeFailures = (service: Service) =>
    figure(service, 'wan_template_ends_total{reason="probe_failed"}')

  it('starts jobs warm when a fork of its template has used a GPU', async () => {
    const service = await aWarmService(auto)
    const id = await service.submit({ prompt: 'a fox' })
    expect(await service.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    expect(await starts(service, 'warm')).toBe(1)
  })

  it('starts every job cold when a fork of its template cannot use a GPU', async () => {
    const service = await startService({ env: { ...auto, SIM_FORK_FAULT: 'cuda' } })
    let jobs = 0
    const runsCold = async () => {
      const id = await service.submit({ prompt: `fox ${++jobs}` })
      expect((await service.until(id)).status).toBe('success')
    }
    // A probe that fails before any job has succeeded is repeated: it may have been the GPU.
    const givenUp = 'forks of a template do not work on this machine; generations are started cold'
    await becomes('it is given up', async () => {
      await runsCold()
      return service.log(givenUp).length === 1
    })
    await runsCold()
    expect(await starts(service, 'warm')).toBe(0)
    expect(await starts(service, 'cold')).toBe(jobs)
    expect(templatesOf(service)).toEqual([])
    expect(service.log('generations are forked from the template')).toEqual([])
  })

  it('starts jobs warm on a machine where another GPU is broken', async () => {
    const service = await startService({ env: { ...auto, SIM_FORK_FAULT: 'oom:0' } })
    await becomes('the probe has failed', async () => (await probeFailures(service)) === 1)
    for (const id of ['0', '1']) await service.json(`/gpus/${id}/drain`, { method: 'POST' })
    await service.json('/gpus/1/resume', { method: 'POST' })
    await service.until(await service.submit({ prompt: 'on the GPU that works' }))
    await isReady(service)
    expect(await probeFailures(service)).toBe(1)
  })

  it('probes once more after a job if the GPU had no memory for a fork, and not again', async () => {
    const service = await startService({ env: { ...auto, SIM_FORK_FAULT: 'oom' } })
    await becomes('the probe has failed', async () => (await probeFailures(service)) === 1)
    await service.until(await service.submit({ prompt: 'it works' }))
    await becomes('it has failed again', async () => (await probeFailures(service)) === 2)
    await service.until(await service.submit({ prompt: 'it still works' }))
    expect(service.log('a template is being built')).toHaveLength(2)
    expect(await starts(service, 'warm')).toBe(0)
  })

  it('probes between two jobs where a GPU is never idle for longer', async () => {
    const service = await startService({ env: { ...auto, GPU_IDS: '0', SIM_LOAD: '0.5' } })
    const first = await service.submit({ prompt: 'first [sim:step=0.5]' })
    const second = await service.submit({ prompt: 'second [sim:step=0.5]' })
    await becomes('it has loaded', () => service.log('a template has loaded').length === 1)
    expect((await service.status(first)).status).toBe('running')
    expect(service.log('generations are forked from the template')).toEqual([])
    expect((await service.until(first)).status).toBe('success')
    await isReady(service)
    const third = await service.submit({ prompt: 'third' })
    for (const id of [second, third]) expect((await service.until(id)).status).toBe('success')
    expect(await starts(service, 'warm')).toBeGreaterThanOrEqual(1)
  })

  it('loads one after the other where there is memory for one load', async () => {
    const service = await startService({
      env: { ...auto, MAX_CONCURRENT_LOADS: '1', SIM_LOAD: '1' },
    })
    const id = await service.submit({ prompt: 'a fox' })
    await isReady(service)
    expect(await service.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    const [running] = service.log('job status').filter(({ status }) => status === 'running')
    const [loaded] = service.log('a template has loaded')
    const start = running?.time ?? Number.NaN
    const end = loaded?.time ?? Number.NaN
    // Alone, the template asks for its turn before there can be jobs. The load of the job takes a second.
    if (!isFollower) expect(start).toBeGreaterThanOrEqual(end)
    expect(start >= end || end - Number(loaded?.tookMs) >= start + 1_000).toBe(true)
  })
})

describe('a service with warm starts', () => {
  it('starts jobs cold until its template has loaded, and warm from then on', async () => {
    const service = await startService({ env: { ...warm, SIM_LOAD: '1.5' } })
    const early = await service.submit({ prompt: 'early' })
    expect((await service.until(early)).status).toBe('success')
    expect(await starts(service, 'cold')).toBe(1)
    await isReady(service)
    const late = await service.submit({ prompt: 'late' })
    expect(await service.until(late)).toMatchObject({ status: 'success', attempt: 1 })
    expect(await starts(service, 'warm')).toBe(1)
    expect(await figure(service, 'wan_template_ready')).toBe(1)
    expect(await figure(service, 'wan_template_load_seconds_count')).toBe(1)
  })

  it('says of each running job and each attempt how it was started', async () => {
    const service = await startService({ env: { ...warm, SIM_LOAD: '1.5', GPU_IDS: '0' } })
    const started = async () => {
      const { gpus } = await service.json<{ gpus: GpuJson[] }>('/gpus')
      return gpus[0]?.start
    }
    const attempts = async (id: string) => {
      const { attempts } = await service.json<JobDetailJson>(`/jobs/${id}`)
      return attempts.map(({ start }) => start)
    }
    const runs = async (prompt: string) => {
      const id = await service.submit({ prompt: `${prompt} [sim:step=0.3]` })
      await service.until(id, ({ stage }) => stage === 'denoising')
      return id
    }
    expect(await started()).toBeNull()
    const early = await runs('early')
    expect(await started()).toBe('cold')
    expect(await attempts(early)).toEqual(['cold'])
    await isReady(service)
    await service.until(early)
    const late = await runs('late')
    expect(await started()).toBe('warm')
    await service.until(late)
    expect(await started()).toBeNull()
    expect(await attempts(early)).toEqual(['cold'])
    expect(await attempts(late)).toEqual(['warm'])
  })

  it('has no template without them', async () => {
    const service = await startService({ env: { WARM_START: 'off' } })
    await service.until(await service.submit({ prompt: 'cold' }))
    expect(templatesOf(service)).toEqual([])
    expect(await starts(service, 'cold')).toBe(1)
  })

  it('leaves no process of a warm job that is canceled', async () => {
    const service = await aWarmService()
    const id = await service.submit({ prompt: '[sim:strays][sim:hang-step]' })
    await service.until(id, ({ stage }) => stage === 'denoising')
    const response = await service.request(`/jobs?ids=${id}`, { method: 'DELETE' })
    expect(response.status).toBe(200)
    expect((await service.status(id)).status).toBe('canceled')
    expect(processesOf(id).filter(isAlive)).toEqual([])
    expect(templatesOf(service)).toHaveLength(1)
  })

  it('goes on with a warm job, and builds another template, when the template is killed', async () => {
    const service = await aWarmService()
    const id = await service.submit({ prompt: 'long [sim:step=0.5]' })
    await service.until(id, ({ stage }) => stage === 'denoising')
    const [template = 0] = templatesOf(service)
    kill(template)
    const next = await service.submit({ prompt: 'next' })
    expect((await service.until(next)).status).toBe('success')
    expect(await service.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    expect(await figure(service, 'wan_template_ends_total{reason="died"}')).toBe(1)
    await isReady(service, 2)
  })

  it.each(['SIGTERM', 'SIGKILL'] as const)(
    'leaves its warm jobs to the next start, and no template, when it is ended by %s',
    async (signal) => {
      const first = await aWarmService()
      const id = await first.submit({ prompt: 'long [sim:step=0.6]' })
      await first.until(id, ({ stage }) => stage === 'denoising')
      await first.stop(signal)
      await becomes('no template is left', () => templatesOf(first).length === 0)

      const second = await aWarmService({}, first.dataDir)
      expect(await second.until(id)).toMatchObject({ status: 'success', attempt: 1 })
      expect(second.journal().map(({ event }) => event)).toEqual(['start', 'end'])
      expect(templatesOf(second)).toHaveLength(1)
    },
  )

  it.each<[what: string, env: NodeJS.ProcessEnv, templates: number]>([
    ['other settings', { WARM_START: 'on' }, 1],
    ['the default', { WARM_START: undefined }, 1],
    ['WARM_START=off', { WARM_START: 'off' }, 0],
  ])(
    'leaves its warm jobs to the next start, but not its template: %s',
    async (_what, env, templates) => {
      const first = await aWarmService({ WAN_EXTRA_ARGS: '["--sample_solver","dpm++"]' })
      const id = await first.submit({ prompt: 'long [sim:step=0.6]' })
      await first.until(id, ({ stage }) => stage === 'denoising')
      const [old = 0] = templatesOf(first)
      expect(setupOf(old)).toContain('dpm++')
      await first.stop('SIGKILL')

      const second = await startService({ dataDir: first.dataDir, env })
      expect(await second.until(id)).toMatchObject({ status: 'success', attempt: 1 })
      if (templates > 0) await isReady(second)
      expect(isAlive(old)).toBe(false)
      expect(templatesOf(second).map((pid) => setupOf(pid).includes('dpm++'))).toEqual(
        Array.from({ length: templates }, () => false),
      )
      const next = await second.submit({ prompt: 'next' })
      expect(await second.until(next)).toMatchObject({ status: 'success', attempt: 1 })
      expect(await starts(second, 'warm')).toBe(templates)
    },
  )

  it('ends warm jobs of an earlier start that are to be stopped', async () => {
    const first = await aWarmService()
    const id = await first.submit({ prompt: 'long [sim:hang-step]' })
    await first.until(id, ({ stage }) => stage === 'denoising')
    await first.stop('SIGKILL')
    const second = await startService({
      dataDir: first.dataDir,
      env: { ...warm, ORPHAN_POLICY: 'fail' },
    })
    expect(await second.until(id)).toMatchObject({ status: 'error', error: { code: 'lost' } })
    expect(processesOf(id).filter(isAlive)).toEqual([])
  })

  it('finds a warm generation whose shim and fork server were killed with it', async () => {
    const first = await aWarmService()
    const id = await first.submit({ prompt: 'long [sim:strays][sim:hang-step]' })
    await first.until(id, ({ stage }) => stage === 'denoising')
    const everything = processesOf(first.dataDir).filter((pid) =>
      ['wan-shim', 'wan-template'].includes(nameOf(pid)),
    )
    const [template = 0] = templatesOf(first)
    const forkServer = Number(
      readFileSync(`/proc/${template}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[1],
    )
    for (const pid of [forkServer, ...everything]) kill(pid)
    const job = await first.until(id, ({ attempt }) => (attempt ?? 0) === 2)
    expect(job.status).not.toBe('success')
    const ofFirst = processesOf(`${id}/1`).filter(isAlive)
    expect(ofFirst).toEqual([])
  })

  it('builds another template when the checkout has changed, and never uses the old one', async () => {
    const dataDir = aDataDirectory()
    const checkout = join(dataDir, 'checkout')
    cpSync(join(root, 'sim'), checkout, { recursive: true })
    const service = await aWarmService({ WAN_DIR: checkout }, dataDir)
    appendFileSync(join(checkout, 'wan/pipeline.py'), '\n')
    await service.until(await service.submit({ prompt: 'changed' }))
    expect(await starts(service, 'warm')).toBe(0)
    // Its start finds the change, or the standby has found it before.
    expect((await starts(service, 'fallback')) + (await starts(service, 'cold'))).toBe(1)
    await isReady(service, 2)
    await service.until(await service.submit({ prompt: 'again' }))
    expect(await starts(service, 'warm')).toBe(1)
    expect(await figure(service, 'wan_template_ends_total{reason="out_of_date"}')).toBe(1)
  })

  it('runs a job again cold, as the same attempt, when only a fork can fail as it did', async () => {
    const service = await aWarmService({ SIM_FORK_FAULT: 'cuda' })
    const id = await service.submit({ prompt: 'a fox' })
    expect(await service.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    expect(await starts(service, 'warm')).toBe(1)
    expect(await starts(service, 'cold')).toBe(1)
    expect(await figure(service, 'wan_template_ends_total{reason="fork_failed"}')).toBe(1)
    expect(await figure(service, 'wan_template_ready')).toBe(0)
    await becomes('the template ends', () => templatesOf(service).length === 0)
    expect(JSON.stringify(service.lines())).toContain('Cannot re-initialize CUDA')
  })

  it('starts cold, and says why, when a template cannot be', async () => {
    const service = await startService({ env: { ...warm, SIM_TEMPLATE_FAULT: 'touch-cuda' } })
    await becomes('the reason is logged', () => service.allLogs().includes('touched CUDA'))
    const id = await service.submit({ prompt: 'a fox' })
    expect((await service.until(id)).status).toBe('success')
    expect(await starts(service, 'cold')).toBe(1)
    expect(await figure(service, 'wan_template_ends_total{reason="not_loaded"}')).toBe(1)
  })

  it('builds another template when its actor crashes', async () => {
    const service = await aWarmService({ FAULT_INJECTION: '1' })
    const [before] = templatesOf(service)
    writeFileSync(join(service.dataDir, 'crash'), 'template')
    service.child.kill('SIGUSR2')
    await isReady(service, 2)
    await becomes('one template is left', () => templatesOf(service).length === 1)
    expect(templatesOf(service)).not.toEqual([before])
  })
})

describe('a standby of a service', () => {
  const forkedAhead = (service: Service) => figure(service, 'wan_standby_starts_total')

  it('becomes the next generation, and another one takes its place', async () => {
    const service = await aWarmService()
    for (const n of [1, 2]) {
      await hasStandby(service)
      await service.until(await service.submit({ prompt: `fox ${n}` }))
      expect(await forkedAhead(service)).toBe(n)
    }
    expect(await starts(service, 'warm')).toBe(2)
  })

  it('is left alone by a cancel, a drain and a restart of a GPU: it belongs to no job and no GPU', async () => {
    const service = await aWarmService({ GPU_IDS: '0', FAULT_INJECTION: '1' })
    const id = await service.submit({ prompt: 'a fox [sim:step=1000]' })
    await service.until(id, ({ stage }) => stage === 'denoising')
    await hasStandby(service)
    const [standby] = standbysOf(service)
    await service.json(`/jobs?ids=${id}`, { method: 'DELETE' })
    for (const change of ['drain', 'resume', 'restart']) {
      await service.json(`/gpus/0/${change}`, { method: 'POST' })
    }
    expect(standbysOf(service)).toEqual([standby])
    const before = await forkedAhead(service)
    await service.until(await service.submit({ prompt: 'the next' }))
    expect(await forkedAhead(service)).toBe(before + 1)
  })

  it('ends with its service, whose warm job goes on in the next one', async () => {
    const service = await aWarmService()
    await hasStandby(service)
    const id = await service.submit({ prompt: 'a fox [sim:step=0.5]' })
    await service.until(id, ({ stage }) => stage === 'denoising')
    await hasStandby(service)
    const [before] = standbysOf(service)
    await service.stop('SIGKILL')
    const next = await startService({ dataDir: service.dataDir, env: warm })
    await isReady(next)
    await hasStandby(next)
    expect(standbysOf(next)).not.toContain(before)
    expect(await next.until(id)).toMatchObject({ status: 'success', attempt: 1 })
  })

  it('ends when the template is loaded again', async () => {
    const service = await aWarmService()
    await hasStandby(service)
    const [before] = standbysOf(service)
    await service.json('/tasks/ti2v-5B/reload', { method: 'POST' })
    await isReady(service, 2)
    await hasStandby(service)
    expect(standbysOf(service)).not.toContain(before)
  })

  it('is not there with STANDBY=off', async () => {
    const service = await aWarmService({ STANDBY: 'off' })
    await service.until(await service.submit({ prompt: 'a fox' }))
    await service.until(await service.submit({ prompt: 'another' }))
    expect(standbysOf(service)).toEqual([])
    expect(await starts(service, 'warm')).toBe(2)
    expect(await forkedAhead(service)).toBe(0)
  })
})
