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
import { databaseOf, isFollower, isOnPostgres } from './store/shared-postgres.ts'

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
  const database = await databaseOf(dataDir)
  // Tests of databases say which one they want.
  const isShared =
    isOnPostgres && (env.DATABASE_URL ?? database.DATABASE_URL) === database.DATABASE_URL
  const lines: LogLine[] = []
  const leader =
    isShared && isFollower
      ? await startLeaderOf(dataDir, { ...database, ...env }, { atEnd, lines })
      : undefined
  const command = [...within, process.execPath, main]
  const limited = ['sh', '-c', `ulimit -n ${maxFiles}; exec "$@"`, 'sh', ...command]
  const [program = '', ...args] = maxFiles === undefined ? command : limited
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: serviceEnvironment(dataDir, { ...database, ...env }),
  })
  let listening: LogLine | undefined
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  createInterface(child.stdout).on('line', (text) => {
    const line = JSON.parse(text) as LogLine
    lines.push(line)
    if (line.msg === 'listening') listening = line
  })
  const ended = once(child, 'exit')
  atEnd(async () => {
    child.kill('SIGKILL')
    await ended
    killLeftovers(dataDir)
  })

  // Not `expect.poll`, which works in tests alone and not in what prepares them.
  const isOver = () => child.exitCode !== null || child.signalCode !== null
  await vi.waitUntil(() => listening || isOver(), { timeout: 30_000 }).catch(() => {})
  const { url, gpus } = (listening ?? {}) as { url?: string; gpus?: number[] }
  if (!url) {
    const how = `${child.exitCode} ${child.signalCode} ${stderr} ${JSON.stringify(lines)}`
    throw new Error(`the service did not start: ${how}`)
  }
  if (isShared && gpus?.length) await untilQueueKnows(gpus, { url, env, isOver })

  return {
    url,
    dataDir,
    /** The node that has the queue: this service, or the leader of a follower. */
    queue: {
      ...{ dataDir: leader?.dataDir ?? dataDir, url: leader?.url ?? url },
      ...{ child: (leader?.child ?? child) as ChildProcess, ...clientOf(leader?.url ?? url) },
      /** Also from before this service was started. */
      log: (msg: string) => (leader?.log ?? lines).filter((line) => line.msg === msg),
    },
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
    /** The latest generation, as soon as one has begun: its stage may be known before it writes to the journal. */
    latestStart: () =>
      vi.waitUntil(() => readJournal(dataDir).findLast(({ event }) => event === 'start'), {
        timeout: 20_000,
      }),

    async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
      child.kill(signal)
      const [code] = (await ended) as [number | null]
      return code
    },
  }
}

/** Alone, a service knows its GPUs before it listens. A node first has to be welcomed by the leader. */
async function untilQueueKnows(
  ids: readonly number[],
  { url, env, isOver }: Readonly<{ url: string; env: NodeJS.ProcessEnv; isOver(): boolean }>,
): Promise<void> {
  type Gpu = Readonly<{ id: number; state: string; actor: object | null }>
  type Check = Readonly<{ name: string; ok: boolean }>
  const tokens = env.API_TOKENS?.split(',').map((entry) => entry.split(':')) ?? []
  const admin = tokens.find(([, , role]) => role === 'admin')
  const client = clientOf(url, admin?.[1])
  let seen: { gpus?: readonly Gpu[]; checks?: readonly Check[] } = {}
  const areKnown = async () => {
    if (isOver()) return true
    const isAnybody = tokens.length > 0 && !admin
    seen = await client.json<typeof seen>(isAnybody ? '/ready' : '/gpus').catch(() => seen)
    // `actor` is from this run of the node: the queue may not have noticed yet that the one before has ended.
    const known = seen.gpus?.filter(({ state, actor }) => actor !== null && state !== 'down')
    return isAnybody
      ? seen.checks?.some(({ name, ok }) => name === 'gpus' && ok)
      : ids.every((gpu) => known?.some(({ id }) => id === gpu))
  }
  await vi.waitUntil(areKnown, { timeout: 30_000, interval: 30 }).catch((cause: unknown) => {
    throw new Error(`the queue does not know the GPUs ${ids}: ${JSON.stringify(seen)}`, { cause })
  })
}

type Leader = Readonly<{
  url: string
  dataDir: string
  settings: string
  log: readonly LogLine[]
  /** Each gets the lines of the log from now on. */
  lines: LogLine[][]
  child: ChildProcess
}>

const leaders = new Map<string, Leader>()

/** Settings of one machine alone. */
const ofOneMachine = ['LOGS_DIR', 'RESULTS_DIR', 'SIM_JOURNAL', 'SIM_STATE_DIR']

/**
 * The leader of the service with this data directory, for as long as the test runs. It has the same settings, no GPUs,
 * and a data directory of its own. `lines`: where its log goes as well.
 */
async function startLeaderOf(
  followerDir: string,
  env: NodeJS.ProcessEnv,
  { atEnd, lines }: Readonly<{ atEnd: AtEnd; lines: LogLine[] }>,
): Promise<Leader> {
  const settings = JSON.stringify(env)
  const known = leaders.get(followerDir)
  if (known?.settings === settings && known.child.exitCode === null) {
    known.lines.push(lines)
    return known
  }
  if (known?.child.kill()) await once(known.child, 'exit')
  const dataDir = known?.dataDir ?? aDataDirectory(atEnd)
  const shared = Object.entries(env).filter(([name]) => !ofOneMachine.includes(name))
  const child = spawn(process.execPath, [main], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...serviceEnvironment(dataDir, Object.fromEntries(shared)),
      ...{ GPU_IDS: 'none', NODE_NAME: 'leader', NODE_URL: 'http://127.0.0.1:0', PORT: '0' },
    },
  })
  const ended = once(child, 'exit')
  atEnd(async () => {
    leaders.delete(followerDir)
    child.kill('SIGKILL')
    await ended
    killLeftovers(dataDir)
  })
  const heard: LogLine[][] = []
  const log: LogLine[] = []
  const find = (msg: string) => log.find((line) => line.msg === msg)
  createInterface(child.stdout).on('line', (text) => {
    const line = JSON.parse(text) as LogLine
    log.push(line)
    for (const each of heard) each.push(line)
  })
  await vi.waitUntil(() => find('queue restored'), { timeout: 30_000 })
  const url = String(find('listening')?.url)
  heard.push(lines)
  const leader = { url, dataDir, settings, log, lines: heard, child }
  leaders.set(followerDir, leader)
  return leader
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
