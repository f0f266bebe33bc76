/** The service on this GPU, as users run it, and what can be seen of its jobs. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { TemplateFacts } from '../../src/actors/template/template-protocol.ts'
import { settings } from '../../src/config/settings.ts'
import { messageOf } from '../../src/domain/errors.ts'
import type { JobDetailJson, JobJson } from '../../src/http/views/job-view.ts'
import { isOver } from '../chaos/client.ts'
import { everythingOf, killEverythingOf } from '../chaos/processes.ts'
import { send, submit } from '../performance/client.ts'
import { aDirectory, type LogLine, launchService, removeDirectory } from '../service.ts'
import { type Clock, FailedError, timeIsUp } from './checks.ts'

const maxStartMs = 60_000
const maxStopMs = 20_000
/** A cold start from a slow disk takes five minutes. */
const maxJobMs = 420_000
/** The look at a checkout imports it. */
const maxReadyMs = 120_000

export type Wished = Readonly<{ prompt: string; seed: number; frames: number; steps: number }>

export type WanSetup = Readonly<{
  gpu: number
  python: string
  wanDir: string
  ckptDir: string
  /** Settings that follow from the machine. */
  env: NodeJS.ProcessEnv
  /** Whether it is built first. */
  build: boolean
  clock: Clock
  atEnd(clearAway: () => void): void
}>

export type WanService = Awaited<ReturnType<typeof startWan>>

export async function startWan(setup: WanSetup, warmStart: 'off' | 'auto' | 'on') {
  const { clock } = setup
  const dataDir = aDirectory()
  setup.atEnd(() => clearAway(dataDir))
  // A generation that is killed may leave files.
  const TMPDIR = join(dataDir, 'tmp')
  mkdirSync(TMPDIR)
  let stderr = ''
  const service = launchService(
    dataDir,
    { ...environmentOf(setup, warmStart), TMPDIR },
    {
      from: setup.build ? 'built' : 'as built',
      onStderr: (text) => {
        stderr = (stderr + text).slice(-2_000)
      },
    },
  )
  const url = await within(service.listening(), maxStartMs).catch((error: unknown) => {
    throw new FailedError(`${messageOf(error)}: ${stderr}`)
  })
  await until('the service is ready', maxReadyMs, async () => {
    const { ready, checks } = await json<Readiness>('/ready')
    const faults = checks.filter(({ ok }) => !ok)
    return ready || faults.map(({ name, detail }) => `${name}: ${detail}`).join('; ')
  })

  return {
    dataDir,
    pid: service.child.pid ?? 0,
    submit: (wished: Wished) => submit(url, { size: '1280x704', ...wished }),
    details: (id: string) => json<JobDetailJson>(`/jobs/${id}`),
    fileOf: ({ filename }: JobJson) => join(dataDir, 'results', filename ?? ''),

    /** Polls until the job is so, or has ended. */
    async until(id: string, isSo: (job: JobJson) => boolean = () => false): Promise<JobJson> {
      let job = await json<JobJson>(`/status/${id}`)
      await until('the job ends', maxJobMs, async () => {
        job = await json<JobJson>(`/status/${id}`)
        return isOver(job.status) || isSo(job) || `it is ${job.stage ?? job.status}`
      })
      return job
    },

    async cancel(id: string): Promise<{ ms: number; isCanceled: boolean }> {
      const begin = performance.now()
      const response = await send(`${url}/jobs?ids=${id}`, 'DELETE')
      const { canceled } = (await response.json()) as { canceled: { id: string }[] }
      return { ms: performance.now() - begin, isCanceled: canceled.length > 0 }
    },

    /** How many generations have been started in each way. */
    async starts(): Promise<Starts> {
      const text = await (await send(`${url}/metrics`)).text()
      const series = /^wan_generation_starts_total\{start="(\w+)"\} (\d+)$/gm
      const counts = [...text.matchAll(series)].map(([, kind, count]) => [kind, Number(count)])
      return { cold: 0, warm: 0, fallback: 0, ...Object.fromEntries(counts) }
    },

    /** Resolves when generations are forked from the template; rejects if there will be none. */
    async hasTemplate(): Promise<TemplateFacts> {
      await until('the template is used', clock.leftMs(), async () => {
        const said = (msg: string) => service.lines.find((line) => line.msg === msg) as Why
        const why = said(noTemplate)?.why ?? said(noForks)?.why
        if (why !== undefined) throw new FailedError(why)
        return said('generations are forked from the template') !== undefined || 'it is built'
      })
      const loaded = service.lines.find(({ msg }) => msg === 'a template has loaded')
      return loaded as LogLine & TemplateFacts
    },

    async stop(): Promise<void> {
      await within(service.stop(), maxStopMs).catch(() => service.child.kill('SIGKILL'))
      clearAway(dataDir)
    },
  }

  async function json<T>(path: string): Promise<T> {
    return (await (await send(`${url}${path}`)).json()) as T
  }

  /** `look` gives true, or how far it is. */
  async function until(what: string, ms: number, look: () => Promise<boolean | string>) {
    const begin = performance.now()
    for (;;) {
      const seen = await look()
      if (seen === true) return
      if (clock.signal.aborted || clock.leftMs() <= 0) throw timeIsUp()
      if (service.child.exitCode !== null) throw new FailedError(`the service ended: ${stderr}`)
      if (performance.now() - begin > ms) {
        throw new FailedError(`for ${Math.round(ms / 1000)} s it was not so that ${what}: ${seen}`)
      }
      await delay(pollMs)
    }
  }
}

/** One of them may have started another while they were killed. */
function clearAway(dataDir: string): void {
  for (let round = 0; round < 50 && everythingOf(dataDir).length > 0; round++) {
    killEverythingOf(dataDir)
  }
  removeDirectory(dataDir)
}

/** `fallback`: cold, although there was a template. */
type Starts = Readonly<Record<'cold' | 'warm' | 'fallback', number>>

/** A stage may be over in a tenth of a second. */
const pollMs = 10

const noTemplate = 'there is no template; generations are started cold'
const noForks = 'forks of a template do not work on this machine; generations are started cold'

type Why = (LogLine & Readonly<{ why?: string }>) | undefined

type Readiness = Readonly<{
  ready: boolean
  checks: readonly { name: string; ok: boolean; detail?: string }[]
}>

/** This environment, which CUDA and Python may need, without the settings of another service. */
function environmentOf({ gpu, python, wanDir, ckptDir, env }: WanSetup, warmStart: string) {
  const kept = Object.entries(process.env).filter(
    ([name]) => !settings.some((setting) => setting.name === name),
  )
  return {
    ...Object.fromEntries(kept),
    GPU_IDS: String(gpu),
    WAN_DIR: wanDir,
    WAN_PYTHON: python,
    WAN_CKPT_DIR: ckptDir,
    WAN_TASK: 'ti2v-5B',
    WARM_START: warmStart,
    // Each job encodes its prompt, so that the encoder is compared, and met, too.
    EMBEDDING_CACHE_MB: '0',
    MAX_ATTEMPTS: '1',
    QUARANTINE_AFTER: '1000',
    SHUTDOWN: 'kill',
    ...env,
  }
}

function within<T>(promise: Promise<T>, ms: number): Promise<T> {
  const late = async () => {
    await delay(ms, undefined, { ref: false })
    throw new Error(`it took more than ${ms / 1000} s`)
  }
  return Promise.race([promise, late()])
}
