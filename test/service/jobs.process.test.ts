import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { root } from '../../src/config/root.ts'
import type { Check } from '../../src/domain/check.ts'
import type { GpuJson } from '../../src/http/views/gpu-view.ts'
import type { JobDetailJson } from '../../src/http/views/job-view.ts'
import { createShared, processesOf, type Service, startService } from '../support/service.ts'

describe('jobs on two GPUs', () => {
  it('run two at a time, in the order in which they came', async () => {
    const service = await startService({ env: { SIM_STEP: '0.1' } })
    const ids: string[] = []
    for (const name of ['first', 'second', 'third', 'fourth'])
      ids.push(await service.submit({ prompt: name }))
    for (const id of ids) expect((await service.until(id)).status).toBe('success')

    const journal = service.journal()
    const starts = journal.filter(({ event }) => event === 'start').map(({ prompt }) => prompt)
    expect(starts.slice(0, 2).sort()).toEqual(['first', 'second'])
    expect(starts.slice(2).sort()).toEqual(['fourth', 'third'])
    expect(maxAtOnce(journal)).toBe(2)
    const claims = service.log('job status').filter(({ status }) => status === 'running')
    expect(claims.map(({ jobId }) => jobId)).toEqual(ids)
  })

  it('see one GPU each, and never two of them the same', async () => {
    const service = await startService({ env: { SIM_STEP: '0.1', GPU_IDS: '3,5' } })
    const ids = await Promise.all(['a', 'b', 'c', 'd'].map((prompt) => service.submit({ prompt })))
    const jobs = await Promise.all(ids.map((id) => service.until(id)))
    const journal = service.journal()
    expect(new Set(journal.map(({ gpu }) => gpu))).toEqual(new Set(['3', '5']))
    for (const gpu of ['3', '5'])
      expect(maxAtOnce(journal.filter((line) => line.gpu === gpu))).toBe(1)
    // The nodes of a cluster number their GPUs themselves.
    const { gpus } = await service.json<{ gpus: GpuJson[] }>('/gpus')
    const devices = new Map(gpus.map(({ id, device }) => [id, device]))
    for (const { prompt, gpu_id, filename } of jobs) {
      const device = devices.get(Number(gpu_id))
      expect(journal.find((line) => line.prompt === prompt)?.gpu).toBe(device)
      expect(filename).toMatch(
        new RegExp(
          `^result_gpu${gpu_id}_\\d{4}-\\d\\d-\\d\\d_\\d\\d-\\d\\d-\\d\\d_[0-9a-f]{8}\\.mp4$`,
        ),
      )
    }
  })

  it('do not wait for the conversion of the job before', async () => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    // 121 frames take seconds to convert; the second job is only five frames long.
    const long = await service.submit({ prompt: 'long', frames: 121 })
    const short = await service.submit({ prompt: 'short' })
    await service.until(short)
    await service.until(long)
    const begun =
      (service.journal().find(({ prompt, event }) => prompt === 'short' && event === 'start')?.at ??
        0) * 1000
    const converted = service
      .log('job status')
      .find(({ jobId, status }) => jobId === long && status === 'success')
    expect(begun).toBeGreaterThan(0)
    expect(begun).toBeLessThan(converted?.time ?? 0)
  })

  it('load their model one after the other when MAX_CONCURRENT_LOADS says so', async () => {
    const service = await startService({
      env: { MAX_CONCURRENT_LOADS: '1', SIM_LOAD: '2', SIM_STEP: '0.4' },
    })
    const first = await service.submit({ prompt: 'first' })
    const second = await service.submit({ prompt: 'second' })
    await service.until(first, ({ stage }) => stage === 'loading')
    expect(await service.status(second)).toMatchObject({ status: 'queued', queue_position: 1 })
    await service.until(second, ({ status }) => status === 'running')
    expect(await service.status(first)).toMatchObject({ status: 'running' })
    expect((await service.status(first)).stage).not.toBe('loading')
  })

  it('show how far they are, and never go back', async () => {
    const service = await startService({
      // Long enough to be seen by polls on a machine that has other work.
      env: { SIM_STEP: '0.3', SIM_LOAD: '8', SIM_DECODE: '2' },
    })
    const id = await service.submit({ prompt: 'a fox', steps: 8, frames: 121 })
    const seen: { stage: string | null; step: number | null; progress: number }[] = []
    await service.until(id, ({ stage, step, progress, status }) => {
      seen.push({ stage, step, progress })
      return status === 'success'
    })
    const stages = [...new Set(seen.map(({ stage }) => stage))].filter(Boolean)
    expect(stages).toEqual(
      expect.arrayContaining(['loading', 'denoising', 'decoding', 'converting']),
    )
    const progress = seen.map((one) => one.progress)
    expect(progress).toEqual(progress.toSorted((a, b) => a - b))
    expect(seen.some(({ step }) => step !== null && step > 0 && step < 8)).toBe(true)
    expect(seen.slice(0, -1).every((one) => one.progress < 1)).toBe(true)
  })

  it('reach the script with every argument as it was asked for, and no shell between', async () => {
    const service = await startService()
    const prompt = `-a "fox" & \`id\` $(touch x); 'rm -rf' | cat > y * ~ \\ %s 狐 🦊 --size`
    const id = await service.submit({
      prompt,
      negative_prompt: `not ${prompt}`,
      size: '720x1280',
      seed: 9007199254740991,
      guidance: 4.5,
      shift: 3.5,
    })
    expect(await service.until(id)).toMatchObject({
      status: 'success',
      prompt,
      negative_prompt: `not ${prompt}`,
      seed: 9007199254740991,
    })
    expect(service.journal()[0]?.prompt).toBe(prompt)
    expect(service.journal().at(-1)).toMatchObject({
      ...{ event: 'end', negative_prompt: `not ${prompt}` },
    })
    const log = await (await service.request(`/jobs/${id}/log`)).text()
    expect(log).toContain("size='704*1280'")
    expect(log).toContain('base_seed=9007199254740991')
    expect(log).toContain('sample_guide_scale=4.5')
    expect(log).toContain('sample_shift=3.5')
    expect(log).toContain('frame_num=5')
    // Unlike the prompt, the script does not write it down.
    expect(log).not.toContain('not -a')
    expect(readdirSync(service.dataDir).sort()).not.toContain('x')
  })
})

describe('a negative prompt', () => {
  const request = { prompt: 'a fox', negative_prompt: 'owls', size: '1280x720', frames: 5 }
  const post = (service: Service) =>
    service.request('/generate', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(request),
    })

  it('is refused without the launcher, with what to do', async () => {
    const service = await startService({ env: { WAN_LAUNCHER: '0' } })
    const answer = await post(service)
    expect(answer.status).toBe(422)
    expect(await answer.json()).toMatchObject({
      ...{ code: 'invalid_request', field: 'negative_prompt' },
      detail: expect.stringContaining('WAN_LAUNCHER=1'),
    })
  })

  it('ends as an error, once, where the checkout cannot take it', async () => {
    const wanDir = mkdtempSync(join(tmpdir(), 'checkout-'))
    onTestFinished(() => rmSync(wanDir, { recursive: true }))
    cpSync(join(root, 'sim'), wanDir, { recursive: true })
    const pipeline = join(wanDir, 'wan/pipeline.py')
    // The service finds the name, and the launcher does not.
    const renamed = `${readFileSync(pipeline, 'utf8')}# sample_neg_prompt\n`
    writeFileSync(pipeline, renamed.replaceAll('self.sample_neg_prompt', 'self.negative'))
    const service = await startService({ env: { WAN_DIR: wanDir } })
    const { id } = (await (await post(service)).json()) as { id: string }
    const job = await service.until(id)
    expect(job).toMatchObject({
      ...{ status: 'error', attempt: 1 },
      error: {
        code: 'invalid_arguments',
        message: expect.stringContaining('submit the job without it'),
      },
    })
  })
})

describe('a failing job', () => {
  const shared = createShared()
  let common: Service
  beforeAll(async () => {
    common = await startService({ atEnd: shared.atEnd })
  })
  afterAll(shared.clearAway)

  it('is tried once more when its generation is killed, then fails with code and signal', async () => {
    const service = await startService({ env: { SIM_STEP: '0.2' } })
    const id = await service.submit({ prompt: 'doomed' })
    for (const attempt of [1, 2]) {
      const generation = await generationOf(service, 'doomed', attempt)
      process.kill(generation, 'SIGKILL')
    }
    const job = await service.until(id)
    expect(job).toMatchObject({
      status: 'error',
      attempt: 2,
      error: { code: 'killed', signal: 'SIGKILL', exit_code: null },
    })
    const { attempts } = await service.json<{ attempts: { error: { code: string } }[] }>(
      `/jobs/${id}`,
    )
    expect(attempts.map(({ error }) => error.code)).toEqual(['killed', 'killed'])
  })

  it('succeeds when the second try does', async () => {
    const service = await startService()
    const id = await service.submit({ prompt: 'shaky [sim:once=oom]' })
    expect(await service.until(id)).toMatchObject({ status: 'success', attempt: 2, error: null })
    const { attempts } = await service.json<{ attempts: { outcome: string }[] }>(`/jobs/${id}`)
    expect(attempts.map(({ outcome }) => outcome)).toEqual(['error', 'success'])
  })

  it.each([
    ['no-file', 'no_output', 1],
    ['no-file-silent', 'no_output', 1],
    ['truncated', 'truncated_output', 2],
    ['garbage-file', 'truncated_output', 2],
    ['wrong-size', 'unexpected_output', 1],
    ['oom', 'out_of_memory', 2],
    ['oom-save', 'out_of_memory', 2],
    ['segfault', 'killed', 2],
    ['exit-137', 'killed', 2],
    ['exit-1', 'generation_failed', 2],
    ['cuda-error', 'gpu_error', 2],
  ])('with the fault %s ends as %s after %i attempts', async (fault, code, attempts) => {
    const service = common
    const id = await service.submit({ prompt: `a fox [sim:${fault}]` })
    const job = await service.until(id)
    expect(job).toMatchObject({ status: 'error', attempt: attempts, error: { code } })
    expect(job.error?.message.length).toBeGreaterThan(20)
    expect(job.file_url).toBeNull()
    expect(readdirSync(join(service.dataDir, 'results'))).toEqual([])
  })

  it.each([
    'invalid-utf8',
    'traceback-but-ok',
    'no-bar',
    'huge-bar',
    'chatty=8',
    'endless-line=8',
    'strays',
    'fork-a-lot=20',
  ])('is not made of one that only behaves oddly: %s', async (fault) => {
    const service = common
    const id = await service.submit({ prompt: `odd [sim:${fault}]` })
    expect(await service.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    expect(processesOf(`WAN_ATTEMPT=${id}`)).toEqual([])
  })

  it('is stopped when it takes longer than JOB_TIMEOUT_S, and not tried again', async () => {
    const service = await startService({ env: { JOB_TIMEOUT_S: '1', GRACE_MS: '100' } })
    const id = await service.submit({ prompt: 'slow [sim:hang-step][sim:ignore-term]' })
    expect(await service.until(id)).toMatchObject({
      status: 'error',
      attempt: 1,
      error: { code: 'timeout' },
    })
    expect(processesOf(`WAN_ATTEMPT=${id}`)).toEqual([])
  })

  it.each([
    ['checkpoint-missing', 'checkpoint_missing'],
    ['module-missing', 'environment_broken'],
    ['no-cuda', 'environment_broken'],
    ['flash-attn-missing', 'environment_broken'],
  ])('waits after the fault %s, which is none of its own', async (fault, code) => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    const id = await service.submit({ prompt: `a fox [sim:once=${fault}]` })
    expect(await service.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    const { attempts } = await service.json<JobDetailJson>(`/jobs/${id}`)
    expect(attempts.map(({ outcome, error }) => [outcome, error?.code])).toEqual([
      ['error', code],
      ['success', undefined],
    ])
  })

  it.each([
    ['WAN_DIR', '/nonexistent', 'generate.py'],
    ['WAN_PYTHON', '/no/such/python', 'python'],
  ])('waits when %s is not there, and the service says what to do', async (name, path, check) => {
    const service = await startService({ env: { [name]: path } })
    const id = await service.submit({ prompt: 'a' })
    await service.until(id, (job) => job.waiting_for === 'environment')
    const { checks } = (await (await service.request('/ready')).json()) as { checks: Check[] }
    const { ok, detail } = checks.find((one) => one.name === check) ?? {}
    expect(ok).toBe(false)
    expect(detail).toContain(path)
    expect(detail).toContain(`Set ${name}`)
    expect(await service.status(id)).toMatchObject({ status: 'queued', error: null, attempt: 0 })
  })
})

describe('canceling', () => {
  it('takes a queued job out and leaves the others in their order', async () => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    const busy = await service.submit({ prompt: 'busy [sim:hang-step]' })
    const [a, b, c] = [
      await service.submit({ prompt: 'a' }),
      await service.submit({ prompt: 'b' }),
      await service.submit({ prompt: 'c' }),
    ]
    await generationOf(service, 'busy')
    expect(await service.status(c)).toMatchObject({ queue_position: 3 })
    expect(await cancel(service, `ids=${b}`)).toMatchObject({
      canceled: [{ id: b, status: 'canceled' }],
    })
    expect(await service.status(b)).toMatchObject({ status: 'canceled', queue_position: null })
    expect(await service.status(c)).toMatchObject({ queue_position: 2 })
    await cancel(service, `ids=${busy}`)
    await service.until(c)
    const order = service
      .journal()
      .filter(({ event }) => event === 'start')
      .map(({ prompt }) => prompt)
    expect(order.slice(1)).toEqual(['a', 'c'])
    expect(await service.status(a)).toMatchObject({ status: 'success' })
  })

  it.each([
    'hang-load',
    'hang-step',
    'hang-step][sim:strays',
    'hang-step][sim:ignore-term',
    'hang-save',
  ])('a running job answers when no process of it is left: %s', async (fault) => {
    const service = await startService({ env: { GRACE_MS: '300' } })
    const id = await service.submit({ prompt: `stuck [sim:${fault}]`, frames: 121 })
    const generation = await generationOf(service, 'stuck')
    if (fault.includes('strays'))
      await expect.poll(() => processesOf(`WAN_ATTEMPT=${id}`).length).toBeGreaterThan(4)

    const answer = await cancel(service, `ids=${id}`)
    expect(answer).toMatchObject({ canceled: [{ id, status: 'canceled' }], canceling: [] })
    expect(isAlive(generation)).toBe(false)
    expect(processesOf(`WAN_ATTEMPT=${id}`)).toEqual([])
    expect(processesOf(join(service.dataDir, 'work', id))).toEqual([])
    expect(await service.status(id)).toMatchObject({
      status: 'canceled',
      file_url: null,
      error: null,
    })
    expect((await service.json<{ gpus: { state: string }[] }>('/gpus')).gpus[0]?.state).toBe('idle')
  })

  it('reaches a job that is being converted', async () => {
    const service = await startService()
    const id = await service.submit({ prompt: 'a fox', frames: 241 })
    await service.until(id, ({ stage }) => stage === 'converting')
    expect(await cancel(service, `ids=${id}`)).toMatchObject({
      canceled: [{ id, status: 'canceled' }],
    })
    expect(processesOf(join(service.dataDir, 'work', id))).toEqual([])
    expect(await service.status(id)).toMatchObject({ status: 'canceled', file_url: null })
    await expect.poll(() => readdirSync(join(service.dataDir, 'results'))).toEqual([])
  })

  it('again is harmless, and of a finished job changes nothing', async () => {
    const service = await startService()
    const id = await service.submit({ prompt: 'a fox [sim:hang-load]' })
    await cancel(service, `ids=${id}`)
    expect(await cancel(service, `ids=${id}`)).toMatchObject({
      canceled: [],
      unchanged: [{ id, status: 'canceled' }],
    })
    const done = await service.submit({ prompt: 'a heron' })
    const before = await service.until(done)
    expect(await cancel(service, `ids=${done}`)).toMatchObject({
      unchanged: [{ id: done, status: 'success' }],
    })
    expect(await service.status(done)).toEqual(before)
  })

  it('of all, or of those in one state, leaves nothing running', async () => {
    const service = await startService()
    const ids = await Promise.all(
      [1, 2, 3, 4].map((n) => service.submit({ prompt: `job ${n} [sim:hang-load]` })),
    )
    await generationOf(service, 'job')
    const queued = await cancel(service, 'status=queued')
    expect(queued.canceled).toHaveLength(2)
    const rest = await cancel(service, 'all=true')
    expect(rest.canceled).toHaveLength(2)
    for (const id of ids) expect((await service.status(id)).status).toBe('canceled')
    expect(
      processesOf('WAN_ATTEMPT=').filter((pid) => processesOf(service.dataDir).includes(pid)),
    ).toEqual([])
  })
})

type CancelJson = Record<'canceled' | 'canceling' | 'unchanged', { id: string; status: string }[]>

const cancel = (service: Service, query: string) =>
  service.json<CancelJson>(`/jobs?${query}`, { method: 'DELETE' })

/** The process of the n-th attempt at the job with this in its prompt, from the journal. */
async function generationOf(service: Service, prompt: string, attempt = 1): Promise<number> {
  const starts = () =>
    service.journal().filter((line) => line.event === 'start' && line.prompt.includes(prompt))
  await expect
    .poll(() => starts().length, { timeout: 20_000, interval: 20 })
    .toBeGreaterThanOrEqual(attempt)
  return starts()[attempt - 1]?.pid ?? 0
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** How many generations ran at the same time at most. */
function maxAtOnce(journal: readonly { event: string; at: number }[]): number {
  let now = 0
  let most = 0
  // An end and a start in the same instant are a handover, not an overlap.
  for (const { event } of journal.toSorted((a, b) => a.at - b.at || (a.event === 'end' ? -1 : 1))) {
    now += event === 'start' ? 1 : -1
    most = Math.max(most, now)
  }
  return most
}
