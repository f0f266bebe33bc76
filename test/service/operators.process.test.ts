import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { forkServerOf, identify } from '../../bench/chaos/processes.ts'
import { crashUntilGivenUp } from '../support/crashes.ts'
import { aDataDirectory, processesOf, type Service, startService } from '../support/service.ts'
import { isFollower, isOnPostgres } from '../support/store/shared-postgres.ts'

type GpuJson = {
  id: number
  state: string
  job_id: string | null
  actor: { incarnation: number; state: string }
  quarantine: { reason: string; until: string | null } | null
  last_failures: { code: string; job_id: string }[]
}

describe('POST /gpus/{id}/drain and /resume', () => {
  it('let the running job end, give the GPU nothing new, and take it back, also over a restart', async () => {
    const dataDir = aDataDirectory()
    const service = await startService({ dataDir, env: { GPU_IDS: '0' } })
    const first = await service.submit({ prompt: 'a [sim:step=0.2]' })
    const second = await service.submit({ prompt: 'b' })
    await service.until(first, ({ stage }) => stage === 'denoising')
    expect(await order(service, 0, 'drain')).toMatchObject({ state: 'draining', job_id: first })
    expect((await service.until(first)).status).toBe('success')
    await expect.poll(async () => (await gpu(service, 0)).state).toBe('drained')
    expect(await service.status(second)).toMatchObject({ status: 'queued', eta_seconds: null })
    const ready = await service.request('/ready')
    expect(ready.status).toBe(503)
    expect(await ready.text()).toContain('drained or in quarantine')
    await service.stop()

    const again = await startService({ dataDir, env: { GPU_IDS: '0' } })
    await expect.poll(() => gpu(again, 0)).toMatchObject({ state: 'drained' })
    expect(await order(again, 0, 'resume')).toMatchObject({ id: 0 })
    expect((await again.until(second)).status).toBe('success')
  })
})

describe('the node of a service without a cluster', () => {
  const nodes = async (service: Service) =>
    (await service.json<{ nodes: { name: string; url: string; drained: boolean }[] }>('/nodes'))
      .nodes

  it.skipIf(isFollower)('is called local, leads, and has all GPUs', async () => {
    const service = await startService()
    expect(await nodes(service)).toEqual([
      {
        ...{ name: 'local', url: service.url, role: 'leader', state: 'present' },
        ...{ version: expect.any(String), drained: false, has_room: true, hold: null },
        ...{ max_concurrent_loads: expect.any(Number), gpus: [0, 1] },
      },
    ])
  })

  it('is drained with all of its GPUs, and resumed', async () => {
    const service = await startService()
    const command = (what: string) => service.json(`/nodes/local/${what}`, { method: 'POST' })
    expect(await command('drain')).toMatchObject({ name: 'local', drained: true })
    expect(await Promise.all([gpu(service, 0), gpu(service, 1)])).toMatchObject([
      { node: 'local', state: 'drained' },
      { node: 'local', state: 'drained' },
    ])
    expect(await command('resume')).toMatchObject({ name: 'local', drained: false })
    const job = await service.until(await service.submit({ prompt: 'a' }))
    expect(job).toMatchObject({ status: 'success', node: 'local' })
  })

  it('that is drained gets no jobs on a GPU that it is given later', async () => {
    const dataDir = aDataDirectory()
    const service = await startService({ dataDir, env: { GPU_IDS: '0' } })
    await service.json('/nodes/local/drain', { method: 'POST' })
    await service.stop()
    const again = await startService({ dataDir, env: { GPU_IDS: '0,1' } })
    await expect.poll(() => gpu(again, 1)).toMatchObject({ state: 'drained' })
    const id = await again.submit({ prompt: 'a' })
    expect(await again.json('/nodes/local/resume', { method: 'POST' })).toMatchObject({
      drained: false,
    })
    expect(await again.until(id)).toMatchObject({ status: 'success' })
  })

  it('cannot be removed', async () => {
    const service = await startService()
    const response = await service.request('/nodes/local', { method: 'DELETE' })
    expect(response.status).toBe(409)
    expect(await response.json()).toMatchObject({ code: 'node_present' })
    expect((await nodes(service)).map(({ name }) => name)).toContain('local')
  })
})

describe('POST /gpus/{id}/restart', () => {
  it.each([
    [{}, { status: 'success', attempt: 1 }, 1],
    [{ job: 'adopt' }, { status: 'success', attempt: 1 }, 1],
    [{ job: 'requeue' }, { status: 'success', attempt: 1 }, 2],
    [{ job: 'fail' }, { status: 'error', error: { code: 'lost' } }, 1],
  ])('with %o gives the job its fate', async (body, outcome, starts) => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    const id = await service.submit({ prompt: 'a fox [sim:step=0.3]' })
    await service.until(id, ({ stage }) => stage === 'denoising')
    const response = await service.request('/gpus/0/restart', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    })
    expect(response.status).toBe(202)
    expect(await service.until(id)).toMatchObject(outcome)
    expect(service.journal().filter(({ event }) => event === 'start')).toHaveLength(starts)
    expect(await gpu(service, 0)).toMatchObject({ actor: { incarnation: 2, state: 'running' } })
    expect(processesOf(`WAN_ATTEMPT=${id}`)).toEqual([])
  })

  it.each([
    ['/gpus/7/restart', 404],
    ['/gpus/7/drain', 404],
    ['/gpus/x/resume', 422],
    ['/gpus/-1/drain', 422],
  ])('%s is refused with %i', async (path, status) => {
    const service = await startService()
    expect((await service.request(path, { method: 'POST' })).status).toBe(status)
  })

  it('refuses a fate that it does not know', async () => {
    const service = await startService()
    const body = { method: 'POST', headers: { 'Content-Type': 'application/json' } }
    const response = await service.request('/gpus/0/restart', { ...body, body: '{"job":"burn"}' })
    expect(response.status).toBe(422)
  })
})

describe('a GPU whose actor crashes too often', { timeout: 120_000 }, () => {
  it('is given up, and its job comes to its end all the same, or is canceled', async () => {
    const service = await startService({ env: { FAULT_INJECTION: '1' } })
    const [kept, canceled] = [
      await service.submit({ prompt: 'kept [sim:step=5]', steps: 9 }),
      await service.submit({ prompt: 'canceled [sim:hang-step]' }),
    ]
    for (const id of [kept, canceled]) {
      await service.until(id, ({ stage }) => stage === 'denoising')
    }
    await crashUntilGivenUp(service, [0, 1])
    const cancel = await service.request(`/jobs?ids=${canceled}`, { method: 'DELETE' })
    expect(cancel.status).toBe(200)
    expect(await service.until(canceled)).toMatchObject({ status: 'canceled' })
    expect(processesOf(`WAN_ATTEMPT=${canceled}`)).toEqual([])
    expect(await service.until(kept)).toMatchObject({ status: 'success', attempt: 1 })
    expect(await gpu(service, 0)).toMatchObject({ state: 'given_up' })
    const starts = service.journal().filter(({ event }) => event === 'start')
    expect(starts).toHaveLength(2)
  })
})

describe('a GPU that fails one job after the other', () => {
  it('is put into quarantine, is left alone, proves itself, and works again', async () => {
    const env = { GPU_IDS: '0', QUARANTINE_AFTER: '2', QUARANTINE_S: '3', MAX_ATTEMPTS: '1' }
    const service = await startService({ env })
    for (const prompt of ['a', 'b']) {
      const id = await service.submit({ prompt: `${prompt} [sim:cuda-error]` })
      expect(await service.until(id)).toMatchObject({ error: { code: 'gpu_error' } })
    }
    const sick = await gpu(service, 0)
    expect(sick).toMatchObject({ state: 'quarantined', quarantine: { reason: 'failures' } })
    expect(sick.last_failures.map(({ code }) => code)).toEqual(['gpu_error', 'gpu_error'])
    const id = await service.submit({ prompt: 'c' })
    expect(await service.status(id)).toMatchObject({ status: 'queued' })
    expect((await service.request('/ready')).status).toBe(503)
    const job = await service.until(id)
    expect(job.status).toBe('success')
    expect(Date.parse(job.started_at ?? '')).toBeGreaterThanOrEqual(
      Date.parse(sick.quarantine?.until ?? ''),
    )
    expect(await gpu(service, 0)).toMatchObject({ state: 'idle', quarantine: null })
  })

  it('does not take a job again that another GPU can do', async () => {
    const service = await startService()
    const id = await service.submit({ prompt: 'a [sim:once=oom]' })
    expect(await service.until(id)).toMatchObject({ status: 'success', attempt: 2 })
    const gpus = service
      .journal()
      .filter(({ event }) => event === 'start')
      .map((line) => line.gpu)
    expect(new Set(gpus).size).toBe(2)
  })
})

describe('a shim that does not answer', () => {
  it('is killed with its generation when the job is to be canceled', async () => {
    const service = await startService({ env: { GRACE_MS: '100' } })
    const id = await service.submit({ prompt: 'a [sim:hang-step]' })
    await service.until(id, ({ stage }) => stage === 'denoising')
    const { shim } = JSON.parse(
      readFileSync(join(service.dataDir, 'work', id, '1', 'state.json'), 'utf8'),
    ) as { shim: { pid: number } }
    process.kill(shim.pid, 'SIGSTOP')
    const answer = await service.json(`/jobs?ids=${id}`, { method: 'DELETE' })
    expect(answer).toMatchObject({ canceled: [{ id, status: 'canceled' }] })
    expect(processesOf(id)).toEqual([])
  })
})

describe('a fork server that is killed', () => {
  it('costs no job anything, neither those that run nor those that come', async () => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    const first = await service.submit({ prompt: 'a [sim:step=0.3]' })
    const second = await service.submit({ prompt: 'b' })
    await service.until(first, ({ stage }) => stage === 'denoising')
    const forkServer = () => forkServerOf(identify(service.child.pid ?? 0) ?? expect.fail())
    const killed = forkServer() ?? expect.fail('there is no fork server')
    process.kill(killed.pid, 'SIGKILL')
    expect(await service.until(first)).toMatchObject({ status: 'success', attempt: 1 })
    expect(await service.until(second)).toMatchObject({ status: 'success', attempt: 1 })
    expect(forkServer()).not.toEqual(killed)
    await service.stop()
    expect(processesOf(service.dataDir)).toEqual([])
  })
})

describe('an actor that crashes', () => {
  it.each(['queue', 'gpu-0', 'conversion', 'eta'])('costs no job anything: %s', async (name) => {
    const service = await startService({ env: { FAULT_INJECTION: '1', GPU_IDS: '0' } })
    const first = await service.submit({ prompt: 'a [sim:step=0.3]', frames: 41 })
    const second = await service.submit({ prompt: 'b' })
    await service.until(first, ({ stage }) => stage === 'denoising')
    const { dataDir, child } = ['queue', 'eta'].includes(name) ? service.queue : service
    writeFileSync(join(dataDir, 'crash'), name)
    child.kill('SIGUSR2')
    await expect.poll(() => service.log('actor crashed; it will be started again')).toHaveLength(1)
    await expect
      .poll(async () => (await service.request(`/status/${first}`)).status, { timeout: 10_000 })
      .toBe(200)
    expect(await service.until(first)).toMatchObject({ status: 'success', attempt: 1 })
    expect(await service.until(second)).toMatchObject({ status: 'success', attempt: 1 })
    expect(service.journal().filter(({ event }) => event === 'start')).toHaveLength(2)
  })

  it('is given up when it crashes again and again; of the queue, that ends the service', async () => {
    const service = await startService({ env: { FAULT_INJECTION: '1' } })
    const { dataDir, child } = service.queue
    writeFileSync(join(dataDir, 'crash'), 'queue')
    const crash = setInterval(() => child.kill('SIGUSR2'), 100)
    await expect.poll(() => child.exitCode, { timeout: 90_000 }).toBe(1)
    clearInterval(crash)
    expect(service.log('the service cannot go on without this part and ends')).toHaveLength(1)
  }, 120_000)
})

describe('SHUTDOWN', () => {
  it('drain: starts nothing new, finishes what runs, then ends', async () => {
    const dataDir = aDataDirectory()
    const service = await startService({ dataDir, env: { SHUTDOWN: 'drain', GPU_IDS: '0' } })
    const running = await service.submit({ prompt: 'a [sim:step=0.3]' })
    const waiting = await service.submit({ prompt: 'b' })
    await service.until(running, ({ stage }) => stage === 'denoising')
    service.child.kill('SIGTERM')
    // A cluster takes jobs for its other nodes.
    await expect
      .poll(async () => (await service.post({ prompt: 'c', size: '1280x720' })).status)
      .toBe(isOnPostgres ? 202 : 503)
    await expect.poll(() => service.child.exitCode, { timeout: 30_000 }).toBe(0)
    expect(service.journal().filter(({ event }) => event === 'start')).toHaveLength(1)
    const again = await startService({ dataDir })
    expect(await again.status(running)).toMatchObject({ status: 'success' })
    expect(await again.until(waiting)).toMatchObject({ status: 'success', attempt: 1 })
  })

  // A node has no SHUTDOWN=kill.
  it.skipIf(isOnPostgres)(
    'kill: stops what runs, and gives it back as if it had never begun',
    async () => {
      const dataDir = aDataDirectory()
      const service = await startService({ dataDir, env: { SHUTDOWN: 'kill' } })
      const id = await service.submit({ prompt: 'a [sim:once=hang-step]' })
      await service.until(id, ({ stage }) => stage === 'denoising')
      expect(await service.stop()).toBe(0)
      expect(processesOf(`WAN_ATTEMPT=${id}`)).toEqual([])
      const again = await startService({ dataDir })
      expect(await again.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    },
  )
})

const order = (service: Service, id: number, what: string) =>
  service.json<GpuJson>(`/gpus/${id}/${what}`, { method: 'POST' })

async function gpu(service: Service, id: number): Promise<GpuJson> {
  const { gpus } = await service.json<{ gpus: GpuJson[] }>('/gpus')
  const found = gpus.find((one) => one.id === id)
  if (!found) throw new Error(`there is no GPU ${id}`)
  return found
}
