/** The real service as its users meet it: a process of its own, HTTP, a data directory on disk. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, onTestFinished, vi } from 'vitest'
import { compiled, main } from '../../bench/built.ts'
import { root } from '../../src/config/root.ts'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { simulateCheckpoint } from '../../src/infra/installation/simulation.ts'
import { databaseOf, isFollower } from './store/shared-postgres.ts'

export type LogLine = Readonly<{ msg: string; time: number } & Record<string, unknown>>

export type Service = Awaited<ReturnType<typeof startService>>

/** Quick generations that leave a quick conversion too: 5 frames, and next to no waiting. */
export const quick = { size: '1280x720', frames: 5, steps: 4 } as const

/** When what a test has started is to be cleared away: after that test, if nothing else is said. */
export type AtEnd = (clearAway: () => void | Promise<void>) => void

/** Collects for a service that several tests share: `afterAll(shared.clearAway)`. */
export function createShared(): { atEnd: AtEnd; clearAway(): Promise<void> } {
  const steps: (() => void | Promise<void>)[] = []
  return {
    atEnd: (step) => steps.unshift(step),
    async clearAway() {
      for (const step of steps) await step()
    },
  }
}

/** A directory of one test's own. */
export function aDataDirectory(atEnd: AtEnd = onTestFinished): string {
  const directory = mkdtempSync(join(tmpdir(), 'wan-'))
  atEnd(() => rmSync(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 }))
  return directory
}

/** `env` overrides what a test service has by default: two simulated GPUs that are fast. */
export function serviceEnvironment(
  dataDir: string,
  env: NodeJS.ProcessEnv = {},
): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    ...compiled,
    PORT: '0',
    DATA_DIR: dataDir,
    GPU_IDS: '0,1',
    WAN_DIR: join(root, 'sim'),
    WAN_CKPT_DIR: simulateCheckpoint(join(dataDir, 'checkpoint')),
    MAX_CONCURRENT_LOADS: '8',
    // Those of warm starts say so.
    WARM_START: 'off',
    // Tests of faults fail on purpose; those of quarantine say what they want.
    QUARANTINE_AFTER: '1000',
    GRACE_MS: '2000',
    MIN_FREE_DISK_MB: '0',
    SIM_SPEED: '1000',
    SIM_DIRECTIVES: '1',
    SIM_JOURNAL: join(dataDir, 'journal'),
    SIM_STATE_DIR: dataDir,
    // Port 0: that of the service.
    ...(env.DATABASE_URL && { NODE_URL: 'http://127.0.0.1:0' }),
    ...env,
  }
}

export async function startService({
  atEnd = onTestFinished,
  dataDir = aDataDirectory(atEnd),
  env = {},
  within = [],
  maxFiles,
}: {
  atEnd?: AtEnd
  dataDir?: string
  env?: NodeJS.ProcessEnv
  /** Program that starts it, with arguments, for instance on a machine of a network. */
  within?: readonly string[]
  /** Open files that it may have; by default as many as this process. */
  maxFiles?: number
} = {}) {
  if (isFollower) await startLeaderOf(dataDir, env, atEnd)
  const command = [...within, process.execPath, main]
  const limited = ['sh', '-c', `ulimit -n ${maxFiles}; exec "$@"`, 'sh', ...command]
  const [program = '', ...args] = maxFiles === undefined ? command : limited
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: serviceEnvironment(dataDir, { ...(await databaseOf(dataDir)), ...env }),
  })
  const lines: LogLine[] = []
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  createInterface(child.stdout).on('line', (line) => lines.push(JSON.parse(line) as LogLine))
  const ended = once(child, 'exit')
  atEnd(async () => {
    child.kill('SIGKILL')
    await ended
    killLeftovers(dataDir)
  })

  // Not `expect.poll`, which works in tests alone and not in what prepares them.
  const isUpOrOver = () =>
    lines.some(({ msg }) => msg === 'listening') ||
    child.exitCode !== null ||
    child.signalCode !== null
  await vi.waitUntil(isUpOrOver, { timeout: 30_000 }).catch(() => {})
  const url = lines.find(({ msg }) => msg === 'listening')?.url as string | undefined
  if (!url) {
    const how = `${child.exitCode} ${child.signalCode} ${stderr} ${JSON.stringify(lines)}`
    throw new Error(`the service did not start: ${how}`)
  }

  return {
    url,
    dataDir,
    child: child as ChildProcess,
    ...clientOf(url),
    /** The same service as the client with this token meets it. */
    as: (token: string) => clientOf(url, token),
    lines: (): readonly LogLine[] => lines,
    log: (msg: string) => lines.filter((line) => line.msg === msg),
    allLogs: () => JSON.stringify(lines),
    stderr: () => stderr,

    /** What the generations themselves wrote down, which no service can embellish. */
    journal: () => readJournal(dataDir),

    async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
      child.kill(signal)
      const [code] = (await ended) as [number | null]
      return code
    },
  }
}

const leaders = new Map<string, ChildProcess>()

/** The leader of the service with this data directory, for as long as the test runs. */
async function startLeaderOf(dataDir: string, env: NodeJS.ProcessEnv, atEnd: AtEnd): Promise<void> {
  if (leaders.get(dataDir)?.exitCode === null) return
  const database = { ...(await databaseOf(dataDir)), ...env }
  // Tests of databases say which one they want.
  if (database.DATABASE_URL !== (await databaseOf(dataDir)).DATABASE_URL) return
  const own = aDataDirectory(atEnd)
  const child = spawn(process.execPath, [main], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...serviceEnvironment(own, database),
      ...{ GPU_IDS: 'none', NODE_NAME: 'leader', NODE_URL: 'http://127.0.0.1:0', PORT: '0' },
    },
  })
  leaders.set(dataDir, child)
  const ended = once(child, 'exit')
  atEnd(async () => {
    leaders.delete(dataDir)
    child.kill('SIGKILL')
    await ended
    killLeftovers(own)
  })
  const lines: string[] = []
  createInterface(child.stdout).on('line', (line) => lines.push(line))
  const leads = () => lines.some((line) => line.includes('queue restored'))
  await vi.waitUntil(leads, { timeout: 30_000 })
}

export type ServiceClient = ReturnType<typeof clientOf>

function clientOf(url: string, token?: string) {
  const request = (path: string, init: RequestInit = {}) => {
    const headers = new Headers(init.headers)
    if (token !== undefined) headers.set('Authorization', `Bearer ${token}`)
    return fetch(`${url}${path}`, { ...init, headers })
  }
  const json = async <T>(path: string, init?: RequestInit): Promise<T> =>
    (await (await request(path, init)).json()) as T
  const post = (body: unknown) =>
    request('/generate', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
  const status = (id: string) => json<JobJson>(`/status/${id}`)

  return {
    request,
    json,
    post,
    status,

    /** Submits and gives the id; anything but 202 fails the test. */
    async submit(body: object): Promise<string> {
      const response = await post({ ...quick, ...body })
      const answer = (await response.json()) as { id: string }
      expect(response.status, JSON.stringify(answer)).toBe(202)
      return answer.id
    },

    /** Polls until the job is over, or until it is as the test wants it. */
    async until(
      id: string,
      isSo = (job: JobJson) => !['queued', 'running'].includes(job.status),
      timeout = 45_000,
    ): Promise<JobJson> {
      let job = await status(id)
      const isOver = async () => {
        job = await status(id)
        // A refusal has a number there.
        return typeof job.status === 'string' && isSo(job)
      }
      await vi.waitUntil(isOver, { timeout, interval: 30 }).catch(() => {
        throw new Error(`the job has not come so far: ${JSON.stringify(job)}`)
      })
      return job
    },
  }
}

export type JournalLine = Readonly<{
  event: 'start' | 'end'
  pid: number
  gpu: string
  save_file: string
  prompt: string
  at: number
}>

export function readJournal(dataDir: string): JournalLine[] {
  const path = join(dataDir, 'journal')
  if (!existsSync(path)) return []
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as JournalLine)
}

/** Every process that has this text in its arguments, environment or working directory's name. */
export function processesOf(text: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) =>
      ['cmdline', 'environ'].some((file) => read(`/proc/${pid}/${file}`).includes(text)),
    )
    .map(Number)
}

/** Also what a killed service left behind, which is its right but no test's. */
export function killLeftovers(dataDir: string): void {
  for (const pid of processesOf(dataDir)) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It has just ended by itself.
    }
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
