/** Real shims for tests: attempts on disk, the processes they become, and a client to talk to one. */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import * as v from 'valibot'
import { expect } from 'vitest'
import { JobId } from '../../src/domain/job.ts'
import { attemptMark } from '../../src/infra/processes/strays.ts'

export const shimPath = fileURLToPath(new URL('../../src/infra/processes/shim.py', import.meta.url))

export type Spec = Readonly<{
  job: string
  epoch: number
  argv: readonly string[]
  cwd: string
  mark?: number
}>

export type Exit = Readonly<{
  code: number | null
  signal: string | null
  reason: string | null
  strays: number
  unreaped: number
  startedAt: number
  endedAt: number
  maxRssKiB: number
  error: string | null
}>

export type Identity = Readonly<{ pid: number; start: number }>
export type State = Readonly<{
  shim: Identity
  worker: Identity
  boot: string
  startedAt: number
}>

export type Message = Readonly<{
  hello?: { job: string; epoch: number; worker: number | null; startedAt: number | null }
  pong?: true
  exit?: Exit
}>

const roots: string[] = []
const shims: ChildProcess[] = []
const sockets: net.Socket[] = []

/** What a test left behind, so that the next one starts from nothing. */
export async function cleanUp(): Promise<void> {
  for (const socket of sockets.splice(0)) socket.destroy()
  for (const shim of shims.splice(0)) {
    shim.kill('SIGKILL')
    await exited(shim)
  }
  for (const root of roots.splice(0)) {
    for (const pid of processesOf(root)) kill(pid)
    // A worker dies a little after its shim, and may leave one more file until then.
    fs.rmSync(root, { recursive: true, force: true, maxRetries: 10, retryDelay: 20 })
  }
}

/** An attempt whose directory is ready for a shim. `script` is for sh, in a directory of its own. */
export function anAttempt(
  how: { script?: string; under?: string; at?: string; isMarked?: boolean } & Partial<Spec> = {},
) {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'shim-'))
  roots.push(root)
  const dir = how.at ?? path.join(root, how.under ?? 'attempt')
  const cwd = path.join(root, 'cwd')
  fs.mkdirSync(dir, { recursive: true })
  fs.mkdirSync(cwd)
  const key = { jobId: v.parse(JobId, how.job ?? randomUUID()), epoch: how.epoch ?? 1 }
  const spec: Spec = {
    job: key.jobId,
    epoch: key.epoch,
    ...(how.isMarked !== false && { mark: attemptMark(key) }),
    argv: how.argv ?? ['sh', '-c', how.script ?? 'exit 0', root],
    cwd: how.cwd ?? cwd,
  }
  fs.writeFileSync(path.join(dir, 'spec.json'), JSON.stringify(spec))

  return {
    root,
    dir,
    cwd,
    key,
    spec,
    has: (name: string) => fs.existsSync(path.join(dir, name)),
    read: (name: string) => fs.readFileSync(path.join(dir, name), 'utf8'),
    state: () => readJson<State>(path.join(dir, 'state.json')),
    exit: () => readJson<Exit>(path.join(dir, 'exit.json')),
    /** The worker says so itself, by a file in its own directory. */
    worker: (said: string) => appears(path.join(cwd, said)),
    tellWorker: (word: string) => fs.writeFileSync(path.join(cwd, word), ''),
  }
}

export type Attempt = ReturnType<typeof anAttempt>

/**
 * Five ways to outlive one's parent. Each holds on to the file that `$held` names. Without an output
 * of its own, tail would end with the reader of its output.
 */
export const waysToStay = {
  'a plain child': 'tail -f "$held" >/dev/null &',
  'a nohup': 'nohup tail -f "$held" >/dev/null 2>&1 &',
  'a session of its own': 'setsid tail -f "$held" >/dev/null &',
  'a double-forked daemon': `setsid sh -c 'tail -f "$0" >/dev/null & exit' "$held"`,
  'a daemon with a cleared environment': `env -i "$(command -v setsid)" "$(command -v sh)" -c '"$1" -f "$0" >/dev/null & exit' "$held" "$(command -v tail)"`,
}

/** Starts a process in each of these ways; then works until it is told to go. */
export function anAttemptWithLeftovers(
  ways: readonly (keyof typeof waysToStay)[],
  how: Parameters<typeof anAttempt>[0] = {},
) {
  const leave = ways.map((way) => waysToStay[way]).join('\n')
  const script = `held="$0/held"; : >"$held"; ${leave}
touch started; while [ ! -e go ]; do sleep 0.01; done; exit 7`
  const attempt = anAttempt({ ...how, script })
  return {
    ...attempt,
    leftovers: () => processesOf(`-f\0${attempt.root}/held`).filter(isAlive),
    haveStarted: async () => {
      await attempt.worker('started')
      await until(
        () => processesOf(`-f\0${attempt.root}/held`).length === ways.length,
        'the leftovers to run',
      )
    },
  }
}

/** Starts a shim just as the service does. */
export function startShim({ dir }: Attempt, env: NodeJS.ProcessEnv = process.env): ChildProcess {
  const log = fs.openSync(path.join(dir, 'shim.log'), 'a')
  const shim = spawn('python3', ['-I', '-S', shimPath, dir], {
    detached: true,
    stdio: ['ignore', log, log],
    env,
  })
  fs.closeSync(log)
  shims.push(shim)
  return shim
}

/** Runs an attempt to its end. */
export async function run(attempt: Attempt, env?: NodeJS.ProcessEnv): Promise<Exit> {
  startShim(attempt, env)
  return await attempt.exit()
}

export function exited(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise((resolve) => child.once('exit', () => resolve()))
}

/** Talks to a shim from when it listens. A path of any length will do, through the open directory. */
export async function connect({ dir }: Attempt): Promise<Client> {
  await appears(path.join(dir, 'ctl.sock'))
  const directory = fs.openSync(dir, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY)
  try {
    for (;;) {
      const socket = net.connect(`/proc/self/fd/${directory}/ctl.sock`)
      const connected = await new Promise<boolean>((resolve) => {
        socket.once('connect', () => resolve(true))
        // Between its bind and its listen, a shim refuses.
        socket.once('error', () => resolve(false))
      })
      if (connected) return aClient(socket)
      await new Promise(setImmediate)
    }
  } finally {
    fs.closeSync(directory)
  }
}

export type Client = ReturnType<typeof aClient>

function aClient(socket: net.Socket) {
  const messages: Message[] = []
  let begun = ''
  let closed = false
  socket.setEncoding('utf8')
  socket.on('error', () => {}) // it is closed next, and that is what counts
  socket.on('close', () => {
    closed = true
  })
  socket.on('data', (text: string) => {
    const lines = (begun + text).split('\n')
    begun = lines.pop() ?? ''
    messages.push(...lines.map((line) => JSON.parse(line) as Message))
  })
  sockets.push(socket)
  return {
    socket,
    messages,
    isClosed: () => closed,
    say: (command: unknown) => socket.write(`${JSON.stringify(command)}\n`),
    write: (bytes: string | Uint8Array) => socket.write(bytes),
    async hears<K extends keyof Message>(kind: K): Promise<NonNullable<Message[K]>> {
      const said = () => messages.find((message) => message[kind] !== undefined)?.[kind]
      await until(() => said() !== undefined, `to hear ${kind}`)
      return said() as NonNullable<Message[K]>
    },
  }
}

/** Processes with this text in their arguments: whoever a test's worker has started. */
export function processesOf(text: string): number[] {
  return processes().filter(
    (pid) => pid !== process.pid && read(`/proc/${pid}/cmdline`).includes(text),
  )
}

/** A zombie is as good as gone: all it waits for is its parent. */
export function isAlive(pid: number): boolean {
  const state = read(`/proc/${pid}/stat`).split(') ').at(-1)?.at(0)
  return state !== undefined && state !== 'Z' && state !== 'X'
}

export function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it was faster
  }
}

export async function until(condition: () => boolean, what: string): Promise<void> {
  await expect.poll(condition, { message: what, interval: 5, timeout: 30_000 }).toBe(true)
}

export const appears = (file: string) => until(() => fs.existsSync(file), `${file} to appear`)

async function readJson<T>(file: string): Promise<T> {
  await appears(file)
  return JSON.parse(fs.readFileSync(file, 'utf8'))
}

const processes = () =>
  fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)

function read(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
