import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { openEvents } from '../support/event-reader.ts'
import { seriesIn } from '../support/metrics/exposition.ts'
import { hasPromtool, promtool } from '../support/metrics/promtool.ts'
import { startReceiver } from '../support/receiver.ts'
import { aDataDirectory, type Service, startService } from '../support/service.ts'
import { isFollower } from '../support/store/shared-postgres.ts'

const onlyOne = { GPU_IDS: '0', MAX_ATTEMPTS: '1' }

describe('GET /metrics', () => {
  it('tells what became of each job, and how long it took', async () => {
    const service = await startService({ env: onlyOne })
    const good = await service.submit({ prompt: 'a fox' })
    const bad = await service.submit({ prompt: 'an owl [sim:oom]' })
    for (const id of [good, bad]) await service.until(id)
    const stopped = await service.submit({ prompt: 'a hen [sim:hang-step]' })
    const waiting = await service.submit({ prompt: 'a cow' })
    await service.until(stopped, ({ stage }) => stage === 'denoising')

    const during = await scrape(service)
    expect(during.get('wan_jobs{status="queued"}')).toBe(1)
    expect(during.get('wan_jobs{status="running"}')).toBe(1)
    expect(during.get('wan_queue_oldest_age_seconds')).toBeGreaterThan(0)
    expect(during.get('wan_gpu_state{gpu="0",state="busy"}')).toBe(1)
    expect(during.get('wan_gpu_state{gpu="0",state="idle"}')).toBe(0)
    const busy = during.get('wan_gpu_busy_seconds_total{gpu="0"}')
    await expect
      .poll(async () => (await scrape(service)).get('wan_gpu_busy_seconds_total{gpu="0"}'))
      .toBeGreaterThan(busy ?? 0)

    await service.request(`/jobs?ids=${stopped},${waiting}`, { method: 'DELETE' })
    const after = await scrape(service)
    expect(after.get('wan_jobs_submitted_total')).toBe(4)
    expect(after.get('wan_jobs_ended_total{status="success",code=""}')).toBe(1)
    expect(after.get('wan_jobs_ended_total{status="canceled",code=""}')).toBe(2)
    expect(after.get('wan_jobs_ended_total{status="error",code="out_of_memory"}')).toBe(1)
    expect(after.get('wan_job_cancel_seconds_count')).toBe(1)
    expect(after.get('wan_job_wait_seconds_count')).toBe(3)
    expect(after.get('wan_job_stage_seconds_count{stage="converting"}')).toBe(1)
    expect(after.get('wan_job_duration_seconds_count{status="success"}')).toBe(1)
    expect(after.get('wan_eta_error_ratio_count{checkpoint="submit"}')).toBe(1)
    expect(after.get('wan_jobs{status="running"}')).toBe(0)
    expect(after.get('wan_queue_oldest_age_seconds')).toBe(0)
    expect(after.get('wan_database_commit_seconds_count')).toBeGreaterThan(4)
    expect(after.get('wan_disk_free_bytes{place="results"}')).toBeGreaterThan(0)
    expect(after.get('wan_http_requests_total{method="POST",route="/generate",status="2xx"}')).toBe(
      4,
    )
  })

  it.skipIf(!hasPromtool)('is as promtool wants it (Debian: apt install prometheus)', async () => {
    const service = await startService()
    await service.until(await service.submit({ prompt: 'a fox' }))
    const response = await service.request('/metrics')
    expect(response.headers.get('Content-Type')).toBe('text/plain; version=0.0.4; charset=utf-8')
    expect(promtool(['check', 'metrics'], await response.text())).toEqual({
      isWell: true,
      said: '',
    })
  })

  it('has as many series after thirty jobs as after ten', async () => {
    const service = await startService({ env: { MAX_ATTEMPTS: '1' } })
    const fiveJobs = async () => {
      const prompts = [
        'a fox',
        'an owl [sim:oom]',
        ...Array<string>(3).fill('a hen [sim:hang-step]'),
      ]
      const ids = await Promise.all(prompts.map((prompt) => service.submit({ prompt })))
      await service.request(`/jobs?ids=${ids.slice(2)}`, { method: 'DELETE' })
      for (const id of ids) await service.until(id)
      await service.request(`/jobs/${crypto.randomUUID()}`)
      await service.request(`/${crypto.randomUUID()}`)
      // What Node tells of itself depends on what it is at just now.
      return [...(await scrape(service)).keys()].filter((name) => name.startsWith('wan_'))
    }
    await fiveJobs()
    const after10 = await fiveJobs()
    for (let n = 0; n < 3; n++) await fiveJobs()
    expect(await fiveJobs()).toEqual(after10)
  }, 180_000)

  it('says what the time of a GPU went into, all of it', async () => {
    const service = await startService({ env: { ...onlyOne, SIM_LOAD: '1' } })
    const first = await scrape(service)
    const seconds = (figures: ReadonlyMap<string, number>, ...states: readonly string[]) =>
      states.map((state) => figures.get(`wan_gpu_seconds_total{gpu="0",state="${state}"}`) ?? -1)
    const sum = (values: readonly number[]) => values.reduce((all, one) => all + one, 0)
    const busy = [
      ...['starting', 'importing', 'loading', 'encoding'],
      ...['denoising', 'decoding', 'saving'],
    ]
    const since = performance.now()
    expect(sum(seconds(first, ...busy))).toBe(0)
    const id = await service.submit({ prompt: 'a fox [sim:step=0.3]' })
    await service.until(id)
    const after = await scrape(service)
    const wallSeconds = (performance.now() - since) / 1000

    const [importing = 0, loading = 0, denoising = 0] = seconds(
      after,
      ...['importing', 'loading', 'denoising'],
    )
    expect(importing).toBeGreaterThan(0)
    expect(loading).toBeGreaterThan(0)
    expect(denoising).toBeGreaterThan(0.8)
    expect(sum(seconds(after, ...busy))).toBeCloseTo(
      after.get('wan_gpu_busy_seconds_total{gpu="0"}') ?? 0,
    )
    const all = (figures: typeof first) =>
      sum(seconds(figures, 'no_work', 'blocked', 'gap', ...busy))
    expect(all(after) - all(first)).toBeLessThan(wallSeconds + 0.5)
    expect(all(after) - all(first)).toBeGreaterThan(wallSeconds - 0.5)
  })

  it('answers while the queue is down, without its figures, and counts nothing twice', async () => {
    const service = await startService({ env: { ...onlyOne, FAULT_INJECTION: '1' } })
    const begun = performance.now()
    const id = await service.submit({ prompt: 'a fox [sim:step=0.4]' })
    await service.until(id, ({ stage }) => stage === 'denoising')
    writeFileSync(join(service.queue.dataDir, 'crash'), 'queue')
    service.queue.child.kill('SIGUSR2')
    await vi.waitUntil(
      async () => (await scrape(service)).get('wan_scrape_success{part="queue"}') === 0,
      { interval: 10, timeout: 10_000 },
    )
    const down = await scrape(service)
    expect(down.has('wan_jobs{status="running"}')).toBe(false)
    expect(down.get('wan_actor_up{actor="queue"}')).toBe(0)

    const isUp = async () => (await scrape(service)).get('wan_scrape_success{part="queue"}') === 1
    await vi.waitUntil(isUp, { timeout: 10_000 })
    expect(await service.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    const after = await scrape(service)
    const wallSeconds = (performance.now() - begun) / 1000
    expect(after.get('wan_actor_restarts_total{actor="queue"}')).toBe(1)
    expect(after.get('wan_jobs_submitted_total')).toBe(1)
    expect(after.get('wan_job_wait_seconds_count')).toBe(1)
    expect(after.get('wan_jobs_ended_total{status="success",code=""}')).toBe(1)
    expect(after.get('wan_gpu_busy_seconds_total{gpu="0"}')).toBeLessThan(wallSeconds)
  })

  it('counts an adoption after a crash of the service, and from zero what comes then', async () => {
    const dataDir = aDataDirectory()
    const first = await startService({ dataDir, env: onlyOne })
    await first.until(await first.submit({ prompt: 'a fox' }))
    const id = await first.submit({ prompt: 'an owl [sim:step=0.4]' })
    await first.until(id, ({ stage }) => stage === 'denoising')
    await first.stop('SIGKILL')

    const second = await startService({ dataDir, env: onlyOne })
    expect(await second.until(id)).toMatchObject({ status: 'success', attempt: 1 })
    const after = await scrape(second)
    expect(after.get('wan_gpu_adoptions_total{gpu="0"}')).toBe(1)
    // The leader of a follower has not crashed: it has counted both jobs.
    const [ended, submitted] = isFollower ? [2, 2] : [1, 0]
    expect(after.get('wan_jobs_ended_total{status="success",code=""}')).toBe(ended)
    expect(after.get('wan_jobs_submitted_total')).toBe(submitted)
    expect(after.get('wan_job_wait_seconds_count')).toBe(submitted)
  })

  it('counts quarantines, requeues and restarts that an operator asks for', async () => {
    const env = { GPU_IDS: '0', QUARANTINE_AFTER: '1', QUARANTINE_S: '3600' }
    const service = await startService({ env })
    const id = await service.submit({ prompt: 'a fox [sim:once=cuda-error]' })
    const isSick = async () =>
      (await scrape(service)).get('wan_gpu_state{gpu="0",state="quarantined"}') === 1
    await vi.waitUntil(isSick, { timeout: 20_000 })
    await service.request('/gpus/0/resume', { method: 'POST' })
    expect((await service.until(id)).status).toBe('success')
    await service.request('/gpus/0/restart', { method: 'POST' })
    const isBack = async () =>
      (await scrape(service)).get('wan_actor_restarts_total{actor="gpu-0"}') === 1
    await vi.waitUntil(isBack, { timeout: 10_000 })
    const after = await scrape(service)
    expect(after.get('wan_gpu_quarantines_total{gpu="0",reason="failures"}')).toBe(1)
    expect(after.get('wan_jobs_requeued_total{reason="gpu_error"}')).toBe(1)
  })

  it('tells what is left in the outbox of webhooks, and how attempts went', async () => {
    const refusal = { status: 500, headers: { 'Retry-After': '4' } }
    const receiver = await startReceiver({
      answer(_, response) {
        if (receiver.received.length === 1) response.writeHead(refusal.status, refusal.headers)
        response.end()
      },
    })
    const service = await startService({ env: { WEBHOOK_ALLOW: '127.0.0.1' } })
    const id = await service.submit({ prompt: 'a fox', webhook_url: receiver.url })
    await service.until(id)
    await receiver.until(1)
    const failed = () => scrapeUntil(service, 'wan_webhook_attempts_total{outcome="pending"}', 1)
    expect((await failed()).get('wan_webhook_pending_deliveries')).toBe(1)
    await receiver.until(2)
    const done = await scrapeUntil(service, 'wan_webhook_pending_deliveries', 0)
    expect(done.get('wan_webhook_attempts_total{outcome="delivered"}')).toBe(1)
    expect(done.get('wan_webhook_oldest_pending_age_seconds')).toBe(0)
  })

  it('tells how many streams of events are open', async () => {
    const service = await startService()
    const readers = [
      await openEvents(`${service.url}/events`),
      await openEvents(`${service.url}/events`),
    ]
    await scrapeUntil(service, 'wan_http_event_streams', 2)
    for (const reader of readers) reader.cut()
    await scrapeUntil(service, 'wan_http_event_streams', 0)
  })

  it('has what nvidia-smi says of a GPU, and waits for it at no time', async () => {
    const dataDir = aDataDirectory()
    const tool = join(dataDir, 'nvidia-smi')
    const PATH = `${dataDir}:${process.env.PATH}`
    writeFileSync(tool, '#!/bin/sh\necho "0, GPU-1, 1024, 24576, 50, 61"\n')
    chmodSync(tool, 0o755)
    const service = await startService({ dataDir, env: { GPU_IDS: '0', PATH } })
    const seen = await scrapeUntil(service, 'wan_gpu_temperature_celsius{gpu="0"}', 61)
    expect(seen.get('wan_gpu_utilization_ratio{gpu="0"}')).toBe(0.5)
    expect(seen.get('wan_gpu_memory_used_bytes{gpu="0"}')).toBe(1024 ** 3)
    expect(seen.get('wan_gpu_memory_bytes{gpu="0"}')).toBe(24 * 1024 ** 3)

    writeFileSync(join(dataDir, 'asked'), '')
    writeFileSync(tool, `#!/bin/sh\necho hangs >> ${join(dataDir, 'asked')}\nexec sleep 1000\n`)
    const isGone = async () => {
      const begun = performance.now()
      const figures = await scrape(service)
      expect(performance.now() - begun).toBeLessThan(3_000)
      return !figures.has('wan_gpu_temperature_celsius{gpu="0"}')
    }
    await vi.waitUntil(isGone, { timeout: 30_000, interval: 200 })
  })
})

/** Series of the service, added to those of its leader as Prometheus would add them. */
async function scrape(service: Service): Promise<ReadonlyMap<string, number>> {
  const nodes = service.queue.url === service.url ? [service] : [service, service.queue]
  const sum = new Map<string, number>()
  for (const node of nodes) {
    const response = await node.request('/metrics')
    const text = await response.text()
    expect(response.status, text).toBe(200)
    for (const [name, value] of seriesIn(text)) sum.set(name, (sum.get(name) ?? 0) + value)
  }
  return sum
}

async function scrapeUntil(service: Service, series: string, value: number) {
  let seen = await scrape(service)
  const isSo = async () => {
    seen = await scrape(service)
    return seen.get(series) === value
  }
  await vi.waitUntil(isSo, { timeout: 20_000, interval: 30 }).catch(() => {
    throw new Error(`${series} is ${seen.get(series)}, not ${value}`)
  })
  return seen
}
