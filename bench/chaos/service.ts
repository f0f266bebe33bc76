import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { simulateCheckpoint } from '../../src/infra/installation/simulation.ts'
import { compiled, main } from '../built.ts'
import { type Identity, identify } from './processes.ts'

const root = join(import.meta.dirname, '..', '..')

const steppedClock = join(import.meta.dirname, 'stepped-clock.ts')

/** A start takes half a second; on a machine that is busy with everything else, some. */
const startMs = 30_000
const stopMs = 10_000

export type LogLine = Readonly<{
  msg?: string
  url?: string
  actor?: string
  restartInMs?: number
  node?: string
}>

export type KeptService = ReturnType<typeof keepService>

/** The real service, started again whenever it is down. */
export function keepService(
  dataDir: string,
  gpus: number,
  env: NodeJS.ProcessEnv = {},
  onLine: (line: LogLine) => void = () => {},
  program: () => string = () => main,
) {
  const problems: string[] = []
  let wanted = true
  let rest: Promise<unknown> | undefined
  let life = start()

  return {
    /** It ended, or an actor did, and nobody here had a hand in it. */
    problems: problems as readonly string[],
    /** Nothing while it is starting. */
    url: () => life.url,
    /** Whether it has said that generations are forked from a template. */
    usesTemplate: () => life.usesTemplate,
    /** Of this life of it; at which time each will be running again. */
    crashes: () => life.crashes as readonly { actor: string; againAt: number }[],
    identity: (): Identity | undefined => identify(life.child.pid ?? 0),

    /** Resolves with the address, of this life or a later one. */
    async listening(): Promise<string> {
      const giveUpAt = Date.now() + startMs
      for (;;) {
        if (life.url) return life.url
        if (Date.now() > giveUpAt) throw new Error(`the service does not start: ${problems.at(-1)}`)
        await delay(5)
      }
    },

    /** After its next end it is started again when this resolves, and not before. */
    restUntil(over: Promise<unknown>): void {
      rest = over
    },

    /** To be called before what will end it; resolves when it has. */
    expectEnd(): Promise<unknown> {
      life.expected = true
      return life.ended
    },

    /** Whether the actor fell as it was told to. */
    async crash(actor: string, doIt: (pid: number) => void): Promise<boolean> {
      const { crashes, child } = life
      const before = crashes.length
      life.pushed.push(actor)
      doIt(child.pid ?? 0)
      for (let tries = 0; tries < 400 && crashes.length === before; tries++) await delay(5)
      return crashes.length > before
    },

    /** Orderly; it is started again unless this is the end. */
    async stop({ forGood = false } = {}): Promise<void> {
      if (forGood) wanted = false
      const { child, ended } = life
      life.expected = true
      child.kill('SIGTERM')
      const code = await Promise.race([ended, delay(stopMs, 'too slow', { ref: false })])
      if (code !== 0) problems.push(`SIGTERM ended it with ${code}`)
      if (code !== 'too slow') return
      child.kill('SIGKILL')
      await ended
    },

    /** At once, and without a trace of goodwill. */
    abandon(): void {
      wanted = false
      life.expected = true
      life.child.kill('SIGKILL')
    },
  }

  function start() {
    const preload = env.STEPPED_CLOCK === undefined ? [] : ['--import', steppedClock]
    const child = spawn(process.execPath, [...preload, program()], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...compiled, ...environment(dataDir, gpus), ...env },
    })
    const begun = {
      child: child as ChildProcess,
      url: undefined as string | undefined,
      usesTemplate: false,
      expected: false,
      crashes: [] as { actor: string; againAt: number }[],
      pushed: [] as string[],
      ended: once(child, 'exit').then(([code, signal]) => (code ?? signal) as number | string),
    }
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-2_000)
    })
    createInterface(child.stdout).on('line', (line) => {
      note(line)
      const heard = parse(line)
      hear(heard)
      onLine(heard)
    })
    void begun.ended.then((how) => {
      begun.url = undefined
      note(`{"msg":"ended","how":"${how}"}`)
      if (!begun.expected) problems.push(`the service ended by itself (${how}): ${stderr}`)
      const rested = rest
      rest = undefined
      if (rested) void rested.then(startAgain)
      else startAgain()
    })
    return begun

    function startAgain(): void {
      if (wanted) life = start()
    }

    function note(line: string): void {
      // Not when everything has been cleared away meanwhile.
      if (existsSync(dataDir)) appendFileSync(join(dataDir, 'chaos.log'), `${line}\n`)
    }

    function hear({ msg, url, actor, restartInMs }: LogLine): void {
      if (msg === 'listening') begun.url = url
      // A node that was deposed or removed: it ends by design.
      if (msg === 'this node leaves the cluster') begun.expected = true
      if (msg === 'generations are forked from the template') begun.usesTemplate = true
      if (msg === 'actor crashed too often and was given up') problems.push(`${actor}: ${msg}`)
      if (msg !== 'actor crashed; it will be started again' || !actor) return
      begun.crashes.push({ actor, againAt: Date.now() + (restartInMs ?? 0) })
      const push = begun.pushed.indexOf(actor)
      if (push < 0) problems.push(`${actor} crashed by itself`)
      else begun.pushed.splice(push, 1)
    }
  }
}

/** Generations of a third of a second, and tries enough to outlive every kill. */
export function environment(dataDir: string, gpus: number): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    PORT: '0',
    DATA_DIR: dataDir,
    GPU_IDS: Array.from({ length: gpus }, (_, gpu) => gpu).join(','),
    WAN_DIR: join(root, 'sim'),
    WAN_CKPT_DIR: simulateCheckpoint(join(dataDir, 'checkpoint')),
    MAX_CONCURRENT_LOADS: '8',
    WARM_START: 'off',
    MAX_CONVERSIONS: '2',
    MAX_ATTEMPTS: String(maxAttempts),
    // It is never the fault of the GPU or the disk here.
    QUARANTINE_AFTER: '1000',
    MIN_FREE_DISK_MB: '0',
    GRACE_MS: '300',
    FAULT_INJECTION: '1',
    SIM_SPEED: '20',
    SIM_JOURNAL: join(dataDir, 'journal'),
    SIM_STATE_DIR: dataDir,
  }
}

export const maxAttempts = 50

/** The last line of one that was killed may be cut short. */
function parse(line: string): LogLine {
  try {
    return JSON.parse(line) as LogLine
  } catch {
    return {}
  }
}
