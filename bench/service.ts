/** The real service, as benchmarks start it: a process of its own, a data directory that goes with it. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { simulateCheckpoint } from '../src/infra/installation/simulation.ts'
import build, { compiled, main } from './built.ts'
import { cpuOf } from './process-cpu.ts'

const root = join(import.meta.dirname, '..')

export type LogLine = Readonly<{ msg: string; url?: string; status?: string; jobId?: string }>

export type BenchService = ReturnType<typeof launchService>

export const aDirectory = (): string => mkdtempSync(join(tmpdir(), 'wan-bench-'))

export const removeDirectory = (path: string): void =>
  rmSync(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })

let isBuilt = false

/** What is measured is what is used, of the source as it is. */
function buildOnce(): void {
  if (!isBuilt) build()
  isBuilt = true
}

export type LaunchOptions = Readonly<{
  /** Is told what would be shown otherwise. */
  onStderr?: (text: string) => void
  /** Only `built` builds. `as built` is what was built last, and the modules of `source` can be replaced: other tests run
   * meanwhile. */
  from?: 'built' | 'as built' | 'source'
}>

/** `env` overrides two simulated GPUs that are fast. Nothing has been waited for yet. */
export function launchService(
  dataDir: string,
  env: NodeJS.ProcessEnv = {},
  { onStderr, from = 'built' }: LaunchOptions = {},
) {
  if (from === 'built') buildOnce()
  const program = from === 'source' ? join(root, 'src', 'main.ts') : main
  // Memory and what is compiled as `npm start` has them.
  const args = ['--max-semi-space-size=8', program]
  const child: ChildProcess = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', onStderr ? 'pipe' : 'inherit'],
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      MALLOC_ARENA_MAX: '2',
      ...compiled,
      PORT: '0',
      DATA_DIR: dataDir,
      GPU_IDS: '0,1',
      WAN_DIR: join(root, 'sim'),
      WAN_CKPT_DIR: simulateCheckpoint(join(dataDir, 'checkpoint')),
      MAX_CONCURRENT_LOADS: '8',
      // Benchmarks of warm starts say so.
      WARM_START: 'off',
      MIN_FREE_DISK_MB: '0',
      SIM_SPEED: '1000',
      SIM_JOURNAL: join(dataDir, 'journal'),
      ...env,
    },
  })
  if (onStderr) child.stderr?.setEncoding('utf8').on('data', onStderr)
  const lines: LogLine[] = []
  const waiting = new Set<{ isIt(line: LogLine): boolean; resolve(line: LogLine): void }>()
  if (child.stdout) {
    createInterface(child.stdout).on('line', (text) => {
      const line = JSON.parse(text) as LogLine
      lines.push(line)
      for (const one of waiting) {
        if (!one.isIt(line)) continue
        waiting.delete(one)
        one.resolve(line)
      }
    })
  }
  const logged = (isIt: (line: LogLine) => boolean): Promise<LogLine> => {
    const found = lines.find(isIt)
    return found ? Promise.resolve(found) : new Promise((resolve) => waiting.add({ isIt, resolve }))
  }
  async function crash(): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }
  return {
    child,
    lines: lines as readonly LogLine[],
    logged,

    async listening(): Promise<string> {
      const started = logged(({ msg }) => msg === 'listening')
      const { url } = await Promise.race([started, once(child, 'exit').then(() => ({ url: '' }))])
      if (!url) throw new Error('the service did not start')
      return url
    },

    /** Resident memory in MB. */
    memory: () => statusOf(child.pid ?? 0, 'VmRSS') / 1024,

    /** Its highest value since the start. */
    peakMemory: () => statusOf(child.pid ?? 0, 'VmHWM') / 1024,

    /** CPU seconds so far. */
    cpu: () => cpuOf(child.pid ?? 0),

    async stop(): Promise<void> {
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      await ended
    },

    /** Its generations go on, for the next to adopt. */
    crash,

    /** Its generations too: the next run is to find the machine idle. */
    async kill(): Promise<void> {
      await crash()
      spawnSync('pkill', ['-KILL', '-f', dataDir], { stdio: 'ignore' })
    },
  }
}

function statusOf(pid: number, field: string): number {
  const line = new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(
    readFileSync(`/proc/${pid}/status`, 'utf8'),
  )
  return Number(line?.[1])
}
