import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import * as v from 'valibot'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { createPlace } from '../../../src/actors/actor.ts'
import { observationsOf } from '../../../src/actors/queue/journal/observations.ts'
import type {
  NodeUse,
  QueueCommand,
  QueueNews,
  SubmitAnswer,
} from '../../../src/actors/queue/queue-protocol.ts'
import { restoreQueue } from '../../../src/actors/queue/queue-restore.ts'
import { transition } from '../../../src/actors/queue/rules/queue-transition.ts'
import { blamesEnvironment } from '../../../src/domain/failures.ts'
import { type GpuSpell, type GpuWork, gpuWorks, isBusy } from '../../../src/domain/gpu-work.ts'
import { failureCodes, type GpuId, type JobId, type Reading } from '../../../src/domain/job.ts'
import type { Logger } from '../../../src/domain/log.ts'
import { type Member, NodeName, soleNode } from '../../../src/domain/node.ts'
import type { Observation } from '../../../src/domain/observation.ts'
import type { Figures, WholeFigures } from '../../../src/infra/metrics/figures.ts'
import { createMetrics } from '../../../src/infra/metrics/metrics.ts'
import {
  aFailure,
  anybody,
  aQueuedJob,
  aRequest,
  aRunningJob,
  aVideo,
  gpu0,
  gpu1,
  jobId,
  midnight,
  queueSettings,
  sentOnce,
} from '../../support/jobs.ts'
import { seriesIn } from '../../support/metrics/exposition.ts'
import { anApp } from '../../support/routes.ts'

describe('the figures of a service', () => {
  it('say how late timers were since the last look, and nothing of a loop that was never late', async () => {
    const metrics = someMetrics()
    const lag = async () => {
      const series = seriesIn(await metrics.expose(nothingRead))
      return ['max', 'p99', 'mean'].map((name) =>
        series.get(`nodejs_eventloop_lag_${name}_seconds`),
      )
    }
    await delay(500)
    const busyUntil = performance.now() + 2_000
    while (performance.now() < busyUntil);
    await delay(500)
    const [max = 0, p99 = 0, mean = 0] = await lag()
    expect(max).toBeGreaterThan(1.7)
    expect(p99).toBeGreaterThan(1.7)
    expect(mean).toBeLessThan(max)
    for (const figure of await lag()) expect(figure).toBeLessThan(1)
  })

  it('have as many series after ten thousand jobs as before the first', async () => {
    const metrics = someMetrics()
    const queue = aQueue(metrics.observe)
    const names = async () => [...seriesIn(await metrics.expose(nothingRead)).keys()]
    const before = await names()
    for (let n = 1; n <= 10_000; n++) queue.passes(n)
    expect(await names()).toEqual(before)

    const series = seriesIn(await metrics.expose(nothingRead))
    expect(series.get('wan_jobs_submitted_total')).toBe(10_000)
    expect(sumOf(series, 'wan_jobs_ended_total')).toBe(10_000)
    expect(series.get('wan_jobs_ended_total{status="canceled",code=""}')).toBe(2 * rounds)
    expect(series.get('wan_job_cancel_seconds_count')).toBe(rounds)
    for (const code of endings)
      expect(series.get(`wan_jobs_ended_total{status="error",code="${code}"}`)).toBe(rounds)
    expect(series.get('wan_jobs_requeued_total{reason="given_back"}')).toBe(rounds)
    const successes = 10_000 - (2 + endings.length) * rounds
    expect(series.get('wan_jobs_ended_total{status="success",code=""}')).toBe(successes)
    expect(series.get('wan_job_stage_seconds_count{stage="denoising"}')).toBe(successes)
    expect(series.get('wan_job_wait_seconds_count')).toBe(10_000 - rounds)
  })

  it('have no more series for whatever paths and methods clients make up', async () => {
    const metrics = someMetrics()
    const app = anApp({ observe: metrics.observe })
    const incoming = { socket: { remoteAddress: '192.0.2.1' }, headers: { host: 'wan' } }
    const ask = (path: string, method = 'GET') =>
      app.request(`http://wan${path}`, { method, headers: { Host: 'wan' } }, { incoming })
    for (const method of ['GET', 'POST', 'DELETE', 'PATCH']) await ask('/a', method)
    await ask('/docs/x')
    const before = seriesIn(await metrics.expose(nothingRead)).size
    for (let n = 0; n < 500; n++) {
      await ask(`/${crypto.randomUUID()}`)
      await ask(`/docs/${crypto.randomUUID()}`)
      await ask(`/a?b=${n}`, `M${n}`)
    }
    const series = seriesIn(await metrics.expose(nothingRead))
    expect(series.size).toBe(before)
    expect(
      series.get('wan_http_requests_total{method="GET",route="/docs/:file",status="4xx"}'),
    ).toBe(501)
    expect(series.get('wan_http_requests_total{method="GET",route="none",status="4xx"}')).toBe(501)
    expect(series.get('wan_http_requests_total{method="other",route="none",status="4xx"}')).toBe(
      501,
    )
  })

  it('count each request once, however many there are and whenever somebody looks', async () => {
    const metrics = someMetrics()
    const answer = { saw: 'requestAnswered', method: 'GET', route: '/jobs' } as const
    const counted = async () => {
      const series = seriesIn(await metrics.expose(nothingRead))
      return [
        ...['2xx', '4xx'].map((status) =>
          series.get(`wan_http_requests_total{method="GET",route="/jobs",status="${status}"}`),
        ),
        series.get('wan_http_request_duration_seconds_count{method="GET",route="/jobs"}'),
        series.get('wan_http_request_duration_seconds_sum{method="GET",route="/jobs"}'),
      ]
    }
    for (let n = 0; n < 2_500; n++) metrics.observe({ ...answer, status: 200, tookMs: 500 })
    expect(await counted()).toEqual([2_500, undefined, 2_500, 1_250])
    for (let n = 0; n < 3; n++) metrics.observe({ ...answer, status: 404, tookMs: 0 })
    expect(await counted()).toEqual([2_500, 3, 2_503, 1_250])
  })

  it('are absent, not as they were, of a part that does not answer', async () => {
    const metrics = someMetrics()
    const seen = [gpu0, gpu1].map((id) => ({
      ...{ gpu: { id, device: String(id) }, node: soleNode },
      ...{ actor: undefined, reading: undefined },
    }))
    const whole: Figures = {
      ...nothingRead,
      whole: {
        queue: {
          open: true,
          hasRoom: true,
          waiting: 3,
          running: 1,
          usableGpus: [gpu0],
          nodes: [],
          slowLoads: [],
        },
        gpus: seen.map((one) => ({ seen: one, use: undefined })),
        nodes: [nodeUse('a', [gpu0])],
        members: [member('a', 'present')],
        outbox: { pending: 2, oldestAt: Date.now() - 60_000 },
        databaseBytes: 4_096,
      },
      children: [],
    }
    const known = seriesIn(await metrics.expose(whole))
    expect(known.get('wan_jobs{status="queued"}')).toBe(3)
    expect(known.get('wan_webhook_oldest_pending_age_seconds')).toBeCloseTo(60, 0)
    expect(known.get('wan_scrape_success{part="queue"}')).toBe(1)

    const unknown = seriesIn(await metrics.expose({ ...nothingRead, whole: { members: [] } }))
    expect(unknown.get('wan_scrape_success{part="queue"}')).toBe(0)
    const gone = [...known.keys()].filter((name) => !unknown.has(name))
    expect(gone).toContain('wan_jobs{status="queued"}')
    expect(gone).toContain('wan_webhook_pending_deliveries')
    expect(gone).toContain('wan_database_size_bytes')
    expect(gone).toContain('wan_gpu_state{gpu="0",state="down"}')
    expect(gone).toContain('wan_node_state{node="a",state="present"}')
    expect(gone).toContain('wan_gpu_node{gpu="0",node="a"}')
  })

  it('have each node with its state, room and GPUs, and no node that was removed', async () => {
    const metrics = someMetrics()
    const members = [member('a', 'present'), member('b', 'lost')]
    const nodes = [nodeUse('a', [gpu0]), { ...nodeUse('b', [gpu1]), hasRoom: false }]
    const read = async (whole?: WholeFigures) =>
      Object.fromEntries(
        [...seriesIn(await metrics.expose({ ...nothingRead, ...(whole && { whole }) }))].filter(
          ([name]) => /^wan_(leader|node_|gpu_node)/.test(name),
        ),
      )
    const ofA = {
      'wan_node_info{node="a"}': 1,
      wan_leader: 1,
      'wan_node_state{node="a",state="present"}': 1,
      'wan_node_state{node="a",state="left"}': 0,
      'wan_node_state{node="a",state="lost"}': 0,
      'wan_node_has_room{node="a"}': 1,
      'wan_gpu_node{gpu="0",node="a"}': 1,
    }
    expect(await read({ members, nodes })).toEqual({
      ...ofA,
      'wan_node_state{node="b",state="present"}': 0,
      'wan_node_state{node="b",state="left"}': 0,
      'wan_node_state{node="b",state="lost"}': 1,
      'wan_node_has_room{node="b"}': 0,
      'wan_gpu_node{gpu="1",node="b"}': 1,
    })
    const removed = { members: members.slice(0, 1), nodes: nodes.slice(0, 1) }
    expect(await read(removed)).toEqual(ofA)
    expect(await read()).toEqual({ 'wan_node_info{node="a"}': 1, wan_leader: 0 })
  })

  it('harm nobody whose doings cannot be counted', async () => {
    const said: string[] = []
    const metrics = someMetrics({ ...quiet, error: (_, phrase) => said.push(phrase) })
    metrics.observe({ saw: 'jobClaimed', waitedMs: Number.NaN })
    expect(said).toEqual(['something could not be counted'])
    metrics.observe({ saw: 'jobClaimed', waitedMs: -5 })
    const series = seriesIn(await metrics.expose(nothingRead))
    expect(series.get('wan_job_wait_seconds_count')).toBe(1)
    expect(series.get('wan_job_wait_seconds_sum')).toBe(0)
  })

  it('count the time of a GPU once, however often they are told and read', async () => {
    const metrics = someMetrics()
    const busy = async (gpu: number) =>
      seriesIn(await metrics.expose(nothingRead)).get(`wan_gpu_busy_seconds_total{gpu="${gpu}"}`) ??
      0
    const begun = performance.now()
    for (let n = 0; n < 100; n++) {
      metrics.observe({
        saw: 'gpuWork',
        gpus: new Map([[gpu0, [{ work: 'denoising' }]]]),
        rest: 'gone',
      })
      await busy(0)
    }
    const least = await busy(0)
    const most = (performance.now() - begun) / 1000
    expect(least).toBeGreaterThan(0)
    expect(least).toBeLessThanOrEqual(most)
    metrics.observe({ saw: 'gpuWork', gpus: new Map([[gpu0, [{ work: 'gap' }]]]), rest: 'gone' })
    const done = await busy(0)
    expect(await busy(0)).toBe(done)
    expect(await busy(1)).toBe(0)
  })

  it('say what the time of each GPU went into, all of it and none twice', async () => {
    const aWork = fc.constantFrom(...gpuWorks)
    const spells = fc.array(
      fc.record({ works: fc.tuple(aWork, aWork), seconds: fc.nat(10_000), isRead: fc.boolean() }),
    )
    vi.useFakeTimers({ toFake: ['performance'] })
    onTestFinished(() => void vi.useRealTimers())
    await fc.assert(
      fc.asyncProperty(spells, async (past) => {
        const metrics = someMetrics()
        vi.advanceTimersByTime(5_000) // before anything is known
        for (const { works, seconds, isRead } of past) {
          const gpus = new Map([gpu0, gpu1].map((gpu) => [gpu, [{ work: works[gpu] ?? 'gap' }]]))
          metrics.observe({ saw: 'gpuWork', gpus, rest: 'gone' })
          vi.advanceTimersByTime(seconds * 500)
          if (isRead) await metrics.expose(nothingRead)
          vi.advanceTimersByTime(seconds * 500)
        }
        const series = seriesIn(await metrics.expose(nothingRead))
        for (const gpu of [gpu0, gpu1]) {
          const secondsOf = (is: (work: GpuWork) => boolean) =>
            past.reduce(
              (sum, { works, seconds }) => sum + (is(works[gpu] ?? 'gap') ? seconds : 0),
              0,
            )
          for (const state of gpuWorks) {
            const counted = series.get(`wan_gpu_seconds_total{gpu="${gpu}",state="${state}"}`)
            expect(counted).toBeCloseTo(secondsOf((work) => work === state))
          }
          const busy = series.get(`wan_gpu_busy_seconds_total{gpu="${gpu}"}`)
          expect(busy).toBeCloseTo(secondsOf(isBusy))
        }
      }),
      { numRuns: 30 },
    )
  })

  it('count a stage from its begin, also one that was over when it became known', async () => {
    vi.useFakeTimers({ toFake: ['performance', 'Date'], now: midnight })
    onTestFinished(() => void vi.useRealTimers())
    const metrics = someMetrics()
    const seconds = async (...works: readonly GpuWork[]) => {
      const series = seriesIn(await metrics.expose(nothingRead))
      return works.map((work) => series.get(`wan_gpu_seconds_total{gpu="0",state="${work}"}`))
    }
    const tell = (...spells: readonly GpuSpell[]) =>
      metrics.observe({ saw: 'gpuWork', gpus: new Map([[gpu0, spells]]), rest: 'gone' })
    const second = (s: number) => midnight + s * 1000

    tell({ work: 'gap' })
    vi.advanceTimersByTime(10_000)
    const starting = { work: 'starting', since: second(8) } as const
    tell(starting)
    vi.advanceTimersByTime(10_000)
    // Counted time is not counted again.
    expect(await seconds('gap', 'starting')).toEqual([8, 12])
    vi.advanceTimersByTime(10_000)
    const importing = { work: 'importing', since: second(12) } as const
    const loading = { work: 'loading', since: second(24) } as const
    const encoding = { work: 'encoding', since: second(27) } as const
    tell(starting, importing, loading, encoding)
    vi.advanceTimersByTime(5_000)
    tell(starting, importing, loading, encoding, { work: 'denoising', since: second(33) })
    vi.advanceTimersByTime(5_000)
    // A clock that was set changes nothing that lies before, nor what is to come.
    tell({ work: 'no_work', since: second(9_999) })
    vi.advanceTimersByTime(2_000)
    expect(await seconds('gap', 'starting', 'importing', 'loading', 'encoding')).toEqual([
      ...[8, 12, 4, 3, 6],
    ])
    expect(await seconds('denoising', 'no_work')).toEqual([7, 2])
  })
})

describe('a step of the queue', () => {
  const at = midnight + 90_000

  it('that takes up a generation again is an adoption, and one that has it stopped is none', () => {
    for (const [orphanPolicy, seen] of [
      ['adopt', [{ saw: 'generationAdopted', gpu: gpu0 }]],
      ['requeue', []],
    ] as const) {
      const stored = { ...emptyStore, running: [aRunningJob(1)] }
      const state = restoreQueue({ ...queueSettings, orphanPolicy }, stored)
      const step = transition(state, { type: 'gpuReady', gpu: gpu0, incarnation: 'gpu-0.1' }, at)
      expect(observationsOf(state, ...step)).toEqual(seen)
    }
  })

  it('that claims a job again does not tell its wait again', () => {
    const stored = { ...emptyStore, waiting: [aQueuedJob(1, { epoch: 1 }), aQueuedJob(2)] }
    const settings = { ...queueSettings, gpus: [gpu0, gpu1] }
    let state = restoreQueue(settings, stored)
    const seen: Observation[] = []
    for (const gpu of [gpu0, gpu1]) {
      const step = transition(state, { type: 'gpuReady', gpu, incarnation: 'x' }, at)
      seen.push(...observationsOf(state, ...step))
      state = step[0]
    }
    expect(seen).toEqual([{ saw: 'jobClaimed', waitedMs: 90_000 }])
  })

  it('that puts a GPU into quarantine is told once, not again when it may prove itself', () => {
    const settings = { ...queueSettings, quarantineAfter: 1, maxAttempts: 1 }
    const state = restoreQueue(settings, { ...emptyStore, running: [aRunningJob(1)] })
    const failed = { how: 'failed', failure: aFailure('gpu_error') } as const
    const [sick, effects] = transition(
      state,
      { type: 'generationEnded', jobId: jobId(1), epoch: 1, result: failed },
      at,
    )
    expect(observationsOf(state, sick, effects)).toContainEqual({
      saw: 'gpuQuarantined',
      gpu: gpu0,
      reason: 'failures',
    })
    const probing = transition(sick, { type: 'probeDue', gpu: gpu0, since: at }, at + 60_000)
    expect(observationsOf(sick, ...probing)).toEqual([])
  })

  it('that ends an attempt nobody followed does not make up where its time went', () => {
    const converting = aRunningJob(1, { phase: 'converting', generatedAt: midnight + 60_000 })
    const state = restoreQueue(queueSettings, { ...emptyStore, running: [converting] })
    const step = transition(
      state,
      { type: 'converted', jobId: jobId(1), epoch: 1, video: aVideo() },
      at,
    )
    const end = { status: 'success' }
    expect(observationsOf(state, ...step)).toEqual([
      { saw: 'jobEnded', jobId: jobId(1), end, submittedAt: midnight, at },
    ])
  })
})

const emptyStore = {
  nextSeq: 1,
  waiting: [],
  running: [],
  gpus: new Map(),
  drainedNodes: new Set<NodeName>(),
  lost: [],
  submissions: [],
}

const nodeUse = (name: string, gpus: readonly GpuId[]): NodeUse => ({
  ...{ name: v.parse(NodeName, name), presence: 'present', gpus },
  ...{ maxConcurrentLoads: 1, drained: false, hasRoom: true },
})

const member = (name: string, state: Member['state']): Member => ({
  ...{ name: v.parse(NodeName, name), url: `http://${name}:8080`, version: '1.2.3' },
  ...{ role: 'leader', state },
})

const silent = () => {}
const quiet: Logger = { debug: silent, info: silent, warn: silent, error: silent }

const nothingRead: Figures = { readings: new Map(), checks: [] }

const someMetrics = (log = quiet) =>
  createMetrics({
    log,
    node: v.parse(NodeName, 'a'),
    gpus: [gpu0, gpu1].map((id) => ({ id, device: String(id) })),
    version: '1.2.3',
    task: 'ti2v-5B',
    maxQueue: 100,
    minFreeBytes: 0,
  })

/** Every way for a job to end; the rest are successes. */
/** Failures by the environment end no job. */
const endings = failureCodes.filter((code) => !blamesEnvironment(code))

/** A divisor of 10,000, so that each way has the same number of jobs. */
const ways = 25
const rounds = 10_000 / ways

/** The rules themselves, and jobs that pass through them one after the other. */
function aQueue(observe: (observation: Observation) => void) {
  const settings = { ...queueSettings, gpus: [gpu0], maxAttempts: 1 }
  let state = restoreQueue(settings, emptyStore)
  let now = midnight
  const tell = (message: QueueCommand | QueueNews): void => {
    now += 1_000
    const [next, effects] = transition(state, message, now)
    for (const observation of observationsOf(state, next, effects)) observe(observation)
    state = next
  }
  const ready = () => tell({ type: 'gpuReady', gpu: gpu0, incarnation: 'gpu-0.1' })
  const cancel = (id: JobId) =>
    tell({
      type: 'cancel',
      selection: { ids: [id] },
      scope: 'everything',
      replyTo: createPlace('canceler'),
    })

  return {
    passes(n: number): void {
      const way = n % ways
      const id = jobId(n)
      const code = endings[way]
      const request = aRequest()
      const replyTo = createPlace<SubmitAnswer>('submitter')
      if (way === ways - 1) tell({ type: 'gpuGone', gpu: gpu0, givenUp: false })
      tell({
        type: 'admit',
        jobId: id,
        request,
        client: anybody,
        nameTaken: false,
        ...sentOnce(n),
        replyTo,
      })
      if (way === ways - 1) {
        cancel(id)
        ready()
        return
      }
      if (n === 1) ready()
      const epoch = way === ways - 3 ? 2 : 1
      if (epoch === 2)
        tell({ type: 'generationEnded', jobId: id, epoch: 1, result: { how: 'neverBegan' } })
      tell({ type: 'generationStarted', gpu: gpu0, jobId: id, epoch, startedAt: now })
      if (way === ways - 2) cancel(id)
      const reading: Reading = { stage: 'denoising', step: 1, began: { denoising: now } }
      tell({ type: 'generationReported', gpu: gpu0, jobId: id, epoch, reading })
      const result = code
        ? ({ how: 'failed', failure: aFailure(code) } as const)
        : ({ how: 'completed' } as const)
      tell({ type: 'generationEnded', jobId: id, epoch, result })
      if (!code && way !== ways - 2) tell({ type: 'converted', jobId: id, epoch, video: aVideo() })
    },
  }
}

const sumOf = (series: ReadonlyMap<string, number>, name: string): number =>
  [...series].reduce((sum, [key, value]) => (key.startsWith(`${name}{`) ? sum + value : sum), 0)
