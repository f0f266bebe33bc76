/** One node of the demo: the real service, with a simulated GPU and a data directory of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { killEverythingOf } from '../../bench/chaos/processes.ts'
import { simulatedEnvironment } from '../../src/infra/installation/simulation.ts'

export type DemoNode = ReturnType<typeof launchNode>

type NodeOptions = Readonly<{
  /** The built service. */
  program: string
  name: string
  databaseUrl: string
  dataDir: string
}>

type LogLine = Readonly<{ msg?: string; url?: string }>
type JournalLine = Readonly<{ event: 'start' | 'end'; prompt: string }>

/** Settings of the shell are not used, except those of the simulator. */
const ofSimulator = (): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith('SIM_')))

export function launchNode({ program, name, databaseUrl, dataDir }: NodeOptions) {
  const journal = join(dataDir, 'journal')
  const child: ChildProcess = spawn(process.execPath, ['--max-semi-space-size=8', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      ...ofSimulator(),
      ...simulatedEnvironment(1, dataDir),
      DATABASE_URL: databaseUrl,
      NODE_NAME: name,
      // The port that the node gets.
      NODE_URL: 'http://127.0.0.1:0',
      PORT: '0',
      // Three templates would take longer than the jobs.
      WARM_START: 'off',
      MIN_FREE_DISK_MB: '0',
      SIM_JOURNAL: journal,
    },
  })
  const ended = once(child, 'exit')
  const lines: LogLine[] = []
  const waiting = new Set<() => void>()
  if (child.stdout) {
    createInterface(child.stdout).on('line', (text) => {
      lines.push(JSON.parse(text) as LogLine)
      for (const look of [...waiting]) look()
    })
  }

  return {
    name,
    dataDir,
    listening: async () => (await logged('listening')).url ?? '',
    leads: () => logged('this node leads the cluster'),
    kill: () => end('SIGKILL'),
    stop: () => end('SIGTERM'),
    /** Also generations that the node would leave to its next start. */
    clearAway: () => killEverythingOf(dataDir),
    /** Written by the generations themselves. */
    journal(): readonly JournalLine[] {
      if (!existsSync(journal)) return []
      const texts = readFileSync(journal, 'utf8').split('\n').filter(Boolean)
      return texts.map((text) => JSON.parse(text) as JournalLine)
    },
  }

  /** The first such line of this process. */
  function logged(message: string): Promise<LogLine> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = lines.find(({ msg }) => msg === message)
        if (!found) return
        waiting.delete(look)
        resolve(found)
      }
      waiting.add(look)
      look()
      void ended.then(([code, signal]) =>
        reject(new Error(`node ${name} ended with ${code ?? signal} before "${message}"`)),
      )
    })
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    child.kill(signal)
    await ended
  }
}
