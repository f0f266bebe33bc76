/** How often a job can be asked for while others listen, beside a route that has nothing to do. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { aDirectory, launchService, removeDirectory } from '../service.ts'
import { submit } from './client.ts'
import { median, ms, type Report, times } from './figures.ts'
import { type Load, load } from './load.ts'

/** Short ones, in turn: what else the machine has to do comes and goes, and meets all of them. */
const rounds = 10
const seconds = 1
const warmUpSeconds = 3
const connections = 16
const readers = 100

const request = { prompt: 'A poll a second', size: '1280x720' }

export async function polls(say: (line: string) => void): Promise<Report> {
  const directory = aDirectory()
  // So slow that both jobs run as long as this takes.
  const service = launchService(directory, { SIM_SPEED: '0.1' })
  const others: ChildProcess[] = []
  try {
    const url = await service.listening()
    const [id = ''] = [await submit(url, request), await submit(url, request)]
    const answer = await running(url, id)
    const bare = await start(others, ['bare.ts'], { BARE_ANSWER: JSON.stringify(answer) })
    await start(others, ['readers.ts', url, String(readers)])
    const ways = {
      'bare Hono route': `${bare}/status/${id}`,
      'GET /status/{id}': `${url}/status/${id}`,
      'GET /v1/videos/{id}': `${url}/v1/videos/video_${id}`,
    }
    const found: Record<string, Load[]> = {}
    for (let round = 0; round <= rounds; round++) {
      for (const [way, target] of Object.entries(ways)) {
        const one = await load({
          url: target,
          connections,
          seconds: round === 0 ? warmUpSeconds : seconds,
        })
        // The first is for the compiler.
        if (round === 0) continue
        found[way] = [...(found[way] ?? []), one]
        say(`round ${round}: ${way}: ${Math.round(one.perSecond)} a second`)
      }
    }
    await running(url, id)
    return {
      how: `${rounds} rounds of ${seconds} s, ${connections} connections; 2 jobs running, ${readers} readers of \`/events\`; medians of the rounds`,
      tables: [tableOf(found)],
    }
  } finally {
    for (const other of others) other.kill('SIGKILL')
    await service.kill()
    removeDirectory(directory)
  }
}

function tableOf(found: Readonly<Record<string, readonly Load[]>>) {
  const [bare = []] = Object.values(found)
  const rows = Object.entries(found).map(([way, loads]) => {
    const middle = (of: (one: Load) => number) => median(loads.map(of))
    const ratios = loads.map(({ perSecond }, round) => perSecond / (bare[round]?.perSecond ?? 0))
    return [
      way,
      middle(({ perSecond }) => perSecond).toFixed(0),
      ms(middle(({ p50 }) => p50)),
      ms(middle(({ p99 }) => p99)),
      times(median(ratios)),
    ]
  })
  return { head: ['answers', 'a second', 'p50', 'p99', '÷ bare'], rows }
}

/** The job as it is told once it is at work, with its estimate. */
export async function running(url: string, id: string): Promise<object> {
  for (;;) {
    const response = await fetch(`${url}/status/${id}?wait=10`)
    const job = (await response.json()) as { status: string; stage: string; eta_seconds: number }
    if (job.status === 'running' && job.eta_seconds > 0) return job
    if (job.status !== 'running' && job.status !== 'queued') throw new Error(`it is ${job.status}`)
  }
}

/** Resolves with the first line that it prints. */
export async function start(
  others: ChildProcess[],
  [script = '', ...args]: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<string> {
  const child = spawn(process.execPath, [join(import.meta.dirname, script), ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  others.push(child)
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string]
  return line
}
