import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { main } from '../../bench/built.ts'
import {
  aDataDirectory,
  killLeftovers,
  processesOf,
  type Service,
  serviceEnvironment,
  startService,
} from '../support/service.ts'
import { isAlive } from '../support/shim-attempt.ts'
import { isOnPostgres } from '../support/store/shared-postgres.ts'

describe('a service that is stopped and started again', () => {
  it('keeps the order of its queue, its finished files and its numbers', async () => {
    const dataDir = aDataDirectory()
    const first = await startService({ dataDir, env: { GPU_IDS: '0' } })
    const done = await first.until(await first.submit({ prompt: 'done' }))
    const busy = await first.submit({ prompt: 'busy [sim:step=0.3]' })
    await first.until(busy, ({ stage }) => stage === 'denoising')
    const ids: string[] = []
    for (const prompt of ['a', 'b', 'c']) ids.push(await first.submit({ prompt }))
    expect(await first.stop()).toBe(0)

    const second = await startService({ dataDir, env: { GPU_IDS: '0' } })
    expect(await second.status(done.id)).toEqual(done)
    const file = await second.request(done.file_url ?? '')
    expect(file.status).toBe(200)
    expect((await file.arrayBuffer()).byteLength).toBe(done.file?.bytes)
    for (const id of ids) expect((await second.until(id)).status).toBe('success')
    const order = second
      .journal()
      .filter(({ event }) => event === 'start')
      .map(({ prompt }) => prompt)
    expect(order).toEqual(['done', 'busy [sim:step=0.3]', 'a', 'b', 'c'])
    expect(await second.until(busy)).toMatchObject({ status: 'success', attempt: 1 })
  })

  it('ends within two seconds, and leaves its generations running', async () => {
    const service = await startService()
    const id = await service.submit({ prompt: 'long [sim:hang-step]' })
    await service.until(id, ({ stage }) => stage === 'denoising')
    const before = Date.now()
    expect(await service.stop()).toBe(0)
    expect(Date.now() - before).toBeLessThan(2_000)
    expect(processesOf(`WAN_ATTEMPT=${id}`)).not.toEqual([])
  })

  it.each([
    ['SIGTERM', 'events', {}],
    ['SIGKILL', 'events', {}],
    ['SIGKILL', 'the log', { WAN_LAUNCHER: '0' }],
  ] as const)(
    'adopts what was running when it was ended by %s, with progress from %s',
    async (signal, _source, env) => {
      const dataDir = aDataDirectory()
      const first = await startService({ dataDir, env })
      const id = await first.submit({ prompt: 'a fox [sim:step=0.4]', steps: 6 })
      const before = await first.until(id, ({ step }) => (step ?? 0) >= 2)
      await first.stop(signal)

      const second = await startService({ dataDir, env })
      const after = await second.until(id, ({ stage }) => stage !== null)
      expect(after.progress).toBeGreaterThanOrEqual(before.progress)
      if (after.stage === 'denoising') expect(after.step).toBeGreaterThanOrEqual(before.step ?? 0)
      else expect(after.stage).not.toMatch('loading|encoding')
      const job = await second.until(id)
      expect(job).toMatchObject({ status: 'success', attempt: 1, started_at: before.started_at })
      expect(second.journal().map(({ event }) => event)).toEqual(['start', 'end'])
      const log = await (await second.request(`/jobs/${id}/log`)).text()
      expect(log.match(/Generating video/g)).toHaveLength(1)
      expect(log.match(/=== attempt/g)).toHaveLength(1)
    },
  )

  it('finishes a job whose generation ended while nobody was there', async () => {
    const dataDir = aDataDirectory()
    const first = await startService({ dataDir })
    const id = await first.submit({ prompt: 'a fox [sim:step=0.2]' })
    await first.until(id, ({ stage }) => stage === 'denoising')
    await first.stop('SIGKILL')
    await expect.poll(() => processesOf(`WAN_ATTEMPT=${id}`), { timeout: 20_000 }).toEqual([])
    const second = await startService({ dataDir })
    expect(await second.until(id)).toMatchObject({ status: 'success', attempt: 1 })
  })

  it('converts again what was being converted when it was killed', async () => {
    const dataDir = aDataDirectory()
    const first = await startService({ dataDir })
    const id = await first.submit({ prompt: 'a fox', frames: 121 })
    await first.until(id, ({ stage }) => stage === 'converting')
    await first.stop('SIGKILL')
    const second = await startService({ dataDir })
    const job = await second.until(id)
    expect(job).toMatchObject({ status: 'success', attempt: 1, file: { frames: 121 } })
    await expect.poll(() => readdirSync(join(dataDir, 'results'))).toEqual([job.filename])
  })

  it('tries again what died together with it', async () => {
    const dataDir = aDataDirectory()
    const first = await startService({ dataDir })
    const id = await first.submit({ prompt: 'unlucky [sim:step=0.3]' })
    await first.until(id, ({ stage }) => stage === 'denoising')
    first.child.kill('SIGKILL')
    // As when a container ends: shim and generation go too.
    killLeftovers(id)
    const second = await startService({ dataDir })
    expect(await second.until(id)).toMatchObject({ status: 'success', attempt: 2 })
  })

  it.each([
    ['requeue', { status: 'success', attempt: 2 }],
    ['fail', { status: 'error', attempt: 1, error: { code: 'lost' } }],
  ])('does with orphans as ORPHAN_POLICY=%s says', async (policy, outcome) => {
    const dataDir = aDataDirectory()
    const first = await startService({ dataDir })
    const id = await first.submit({ prompt: 'orphan [sim:once=hang-step]' })
    await first.until(id, ({ stage }) => stage === 'denoising')
    await first.stop('SIGKILL')
    const second = await startService({ dataDir, env: { ORPHAN_POLICY: policy } })
    expect(await second.until(id)).toMatchObject(outcome)
    expect(processesOf(`WAN_ATTEMPT=${id}/1`)).toEqual([])
  })

  it('never turns a cancel into a success, even when it is killed in between', async () => {
    const dataDir = aDataDirectory()
    const env = { GRACE_MS: '60000' }
    const first = await startService({ dataDir, env })
    const id = await first.submit({ prompt: 'stubborn [sim:ignore-term][sim:step=0.3]' })
    await first.until(id, ({ stage }) => stage === 'denoising')
    void first.request(`/jobs?ids=${id}`, { method: 'DELETE' }).catch(() => {})
    await first.until(id, (job) => job.cancel_requested)
    await first.stop('SIGKILL')
    const second = await startService({ dataDir, env })
    expect(await second.until(id)).toMatchObject({ status: 'canceled', file_url: null })
  })

  it('looks after a generation on a GPU that is no longer its own', async () => {
    const dataDir = aDataDirectory()
    // A cluster numbers GPUs in the order in which they come.
    const [former, present] = isOnPostgres ? [0, 1] : [7, 0]
    const first = await startService({ dataDir, env: { GPU_IDS: '7' } })
    const id = await first.submit({ prompt: 'moved [sim:step=0.3]' })
    await first.until(id, ({ stage }) => stage === 'denoising')
    await first.stop()
    const second = await startService({ dataDir, env: { GPU_IDS: '0' } })
    const next = await second.submit({ prompt: 'next' })
    expect(await second.until(id)).toMatchObject({ status: 'success', attempt: 1, gpu_id: former })
    expect(await second.until(next)).toMatchObject({ status: 'success', gpu_id: present })
  })
})

describe('what a former life has left', () => {
  it('is ended and cleared away before anything is claimed, and archived if nobody knows its job', async () => {
    const dataDir = aDataDirectory()
    const first = await startService({ dataDir })
    await first.until(await first.submit({ prompt: 'a fox' }))
    await first.stop()
    const unknown = '11111111-1111-4111-8111-111111111111'
    const directory = join(dataDir, 'work', unknown, '1')
    mkdirSync(directory, { recursive: true })
    writeFileSync(join(directory, 'stdout.log'), 'who was that?')
    const env = { ...process.env, WAN_ATTEMPT: `${unknown}/1` }
    const stray = spawn('sleep', ['600'], { env, detached: true, stdio: 'ignore' })
    onTestFinished(() => void stray.kill('SIGKILL'))
    await expect.poll(() => processesOf(`WAN_ATTEMPT=${unknown}`)).toEqual([stray.pid])

    const service = await startService({ dataDir })
    await expect.poll(() => processesOf(`WAN_ATTEMPT=${unknown}`)).toEqual([])
    expect(existsSync(directory)).toBe(false)
    expect(existsSync(join(dataDir, 'archive', unknown, '1', 'stdout.log'))).toBe(true)
    expect((await service.request('/health')).status).toBe(200)
  })

  it('is ended before its job begins again when its work directory was removed', async () => {
    const dataDir = aDataDirectory()
    const first = await startService({ dataDir, env: { GPU_IDS: '0' } })
    const id = await first.submit({ prompt: 'robbed [sim:once=hang-step]' })
    await first.until(id, ({ stage }) => stage === 'denoising')
    await first.stop('SIGKILL')
    const [before] = first.journal()
    rmSync(join(dataDir, 'work', id), { recursive: true })

    const second = await startService({ dataDir, env: { GPU_IDS: '0' } })
    await expect.poll(() => second.journal().length, { timeout: 20_000 }).toBeGreaterThan(1)
    expect(isAlive(before?.pid ?? 0)).toBe(false)
    expect(await second.until(id)).toMatchObject({ status: 'success', attempt: 2 })
  })

  it('is ended though neither its directory nor the database that knew it are left', async () => {
    const dataDir = aDataDirectory()
    const first = await startService({ dataDir })
    const id = await first.submit({ prompt: 'wiped [sim:hang-step]' })
    await first.until(id, ({ stage }) => stage === 'denoising')
    await first.stop('SIGKILL')
    expect(processesOf(`/${id}/1`)).toHaveLength(2)
    const left = ['checkpoint', 'journal']
    for (const name of readdirSync(dataDir).filter((name) => !left.includes(name))) {
      rmSync(join(dataDir, name), { recursive: true })
    }
    await startService({ dataDir })
    expect(processesOf(`/${id}/1`)).toEqual([])
  })

  it('is not touched when it belongs to another data directory', async () => {
    const job = '22222222-2222-4222-8222-222222222222'
    const env = { ...process.env, WAN_ATTEMPT: `${job}/1` }
    const other = spawn('sleep', ['600'], { env, detached: true, stdio: 'ignore' })
    onTestFinished(() => void other.kill('SIGKILL'))
    await startService()
    expect(processesOf(`WAN_ATTEMPT=${job}`)).toEqual([other.pid])
  })
})

describe('a service that cannot start', () => {
  it('names the one that uses its data directory already', async () => {
    const first = await startService()
    const { code, stderr } = await startInVain({ ...serviceEnvironment(first.dataDir) })
    expect(code).toBe(1)
    expect(stderr).toContain(`pid ${first.child.pid}`)
    expect(stderr).toContain('DATA_DIR')
    expect((await first.request('/health')).status).toBe(200)
  })

  it('can start once the other one has died, however it died', async () => {
    const dataDir = aDataDirectory()
    const first = await startService({ dataDir })
    await first.stop('SIGKILL')
    const second = await startService({ dataDir })
    expect((await second.request('/health')).status).toBe(200)
  })

  it('names every variable that is wrong', async () => {
    const { code, stderr } = await startInVain(
      serviceEnvironment(aDataDirectory(), { PORT: 'http', FIT_720: 'crop', MAX_ATTEMPTS: '0' }),
    )
    expect(code).toBe(1)
    for (const name of ['PORT', 'FIT_720', 'MAX_ATTEMPTS']) expect(stderr).toContain(name)
  })

  it.each([
    ['GPU_IDS is empty', { GPU_IDS: '' }],
    ['NVIDIA_VISIBLE_DEVICES is none', { GPU_IDS: undefined, NVIDIA_VISIBLE_DEVICES: 'none' }],
    ['there is no nvidia-smi', { GPU_IDS: undefined }],
  ])('says how to try it without a GPU when %s', async (_case, env) => {
    const { code, stderr } = await startInVain(serviceEnvironment(aDataDirectory(), env))
    expect(code).toBe(1)
    expect(stderr).toContain('make demo')
    expect(stderr).not.toContain('    at ')
  })

  it('says so when its port is taken', async () => {
    const first = await startService()
    const port = new URL(first.url).port
    const { code, stdout } = await startInVain(serviceEnvironment(aDataDirectory(), { PORT: port }))
    expect(code).toBe(1)
    expect(stdout).toContain('set HOST or PORT')
  })
})

it('finds its GPUs with nvidia-smi when nobody names them', async () => {
  const bin = join(aDataDirectory(), 'bin')
  mkdirSync(bin)
  const script =
    '#!/bin/sh\necho "GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-aaaa)"\necho "GPU 1: NVIDIA GeForce RTX 4090 (UUID: GPU-bbbb)"\n'
  writeFileSync(join(bin, 'nvidia-smi'), script)
  chmodSync(join(bin, 'nvidia-smi'), 0o755)
  const env = { GPU_IDS: undefined, PATH: `${bin}:${process.env.PATH}` }
  const service: Service = await startService({ env })
  const gpus = async () => (await service.json<{ gpus: object[] }>('/gpus')).gpus
  await expect.poll(gpus).toMatchObject([
    { id: 0, name: 'NVIDIA GeForce RTX 4090', uuid: 'GPU-aaaa', state: 'idle' },
    { id: 1, name: 'NVIDIA GeForce RTX 4090', uuid: 'GPU-bbbb', state: 'idle' },
  ])
})

it.skipIf(isOnPostgres)('writes only into its data directories', async () => {
  const dataDir = aDataDirectory()
  const elsewhere = {
    RESULTS_DIR: join(dataDir, 'r'),
    LOGS_DIR: join(dataDir, 'l'),
    STATE_DB: join(dataDir, 's', 'jobs.db'),
  }
  const service = await startService({ dataDir, env: elsewhere })
  const job = await service.until(await service.submit({ prompt: 'a fox', filename: 'fox.mp4' }))
  expect(existsSync(join(dataDir, 'r', 'fox.mp4'))).toBe(true)
  expect(existsSync(join(dataDir, 'l', `${job.id}.log`))).toBe(true)
  expect(existsSync(join(dataDir, 's', 'jobs.db'))).toBe(true)
  const ours = ['checkpoint', 'journal', 'l', 'r', 's']
  const others = readdirSync(dataDir).filter((name) => !ours.includes(name))
  const own = ['backups', 'previews', 'reserve', 'service.lock', 'service.pid', 'work']
  expect(others.filter((name) => !own.includes(name))).toEqual([])
})

async function startInVain(
  env: NodeJS.ProcessEnv,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [main], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk) => (stdout += chunk))
  child.stderr.on('data', (chunk) => (stderr += chunk))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stdout, stderr }
}
