/** How long a cluster of real services does not answer after its leader was killed, and until a job of a lost machine runs again. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { startPostgresServer } from '../postgres.ts'
import { aDirectory, type BenchService, launchService, removeDirectory } from '../service.ts'
import { quantile, type Report } from './figures.ts'
import { loopback } from './free-port.ts'

const leaderKills = 20
const machineLosses = 10
const names = ['a', 'b', 'c'] as const

type Node = { name: string; dataDir: string; service: BenchService; url: string }

/** With the default settings of a cluster. */
export async function failover(say: (line: string) => void): Promise<Report> {
  await using postgres = await startPostgresServer()
  await using started = new AsyncDisposableStack()
  const DATABASE_URL = await postgres.createDatabase()
  const nodes = new Map<string, Node>()
  for (const name of names) {
    const dataDir = started.adopt(aDirectory(), removeDirectory)
    await start(name, dataDir)
    started.defer(() => nodes.get(name)?.service.kill())
  }
  await untilAllAreThere()

  const gaps: number[] = []
  while (gaps.length < leaderKills) {
    const leader = await leading()
    const [other] = [...nodes.values()].filter((node) => node !== leader)
    const killedAt = performance.now()
    await leader.service.crash()
    await until(async () => (await fetch(`${other?.url}/jobs?limit=1`)).ok)
    gaps.push((performance.now() - killedAt) / 1_000)
    say(`leader ${gaps.length}: ${gaps.at(-1)?.toFixed(2)} s`)
    await start(leader.name, leader.dataDir)
    await untilAllAreThere()
  }

  const losses: number[] = []
  while (losses.length < machineLosses) {
    const leader = await leading()
    const lost = [...nodes.values()].find((node) => node !== leader)
    if (!lost) break
    // One job on each GPU, of which the lost machine has one.
    const prompts = new Map<string, string>()
    for (const name of names) {
      const prompt = `${name} ${losses.length}`
      prompts.set(await submit(leader.url, prompt), prompt)
    }
    const onLost = await until(async () => {
      const running = await gpusOf(leader.url)
      const isBusy = running.every(({ job_id: job }) => job !== null)
      const found = running.find(({ node }) => node === lost.name)?.job_id
      return isBusy && found !== null ? found : undefined
    })
    const lostAt = performance.now()
    await lost.service.kill()
    // The other jobs would hold the GPUs.
    const others = [...prompts.keys()].filter((id) => id !== onLost)
    await fetch(`${leader.url}/jobs?ids=${others.join()}`, { method: 'DELETE' })
    await until(async () => startsOf(prompts.get(onLost) ?? '', lost) > 0)
    losses.push((performance.now() - lostAt) / 1_000)
    say(`machine ${losses.length}: ${losses.at(-1)?.toFixed(2)} s`)
    await fetch(`${leader.url}/jobs?ids=${onLost}`, { method: 'DELETE' })
    await start(lost.name, lost.dataDir)
    await untilAllAreThere()
  }

  const row = (what: string, all: readonly number[]) => [
    what,
    String(all.length),
    ...[0, 0.5, 0.99, 1].map((share) => `${quantile(all, share).toFixed(2)} s`),
  ]
  return {
    how: `${names.length} nodes with one GPU each, default settings`,
    tables: [
      {
        head: ['event → end', 'times', 'fastest', 'p50', 'p99', 'slowest'],
        rows: [
          row('leader killed → another node answers', gaps),
          row('machine killed → its job is started elsewhere', losses),
        ],
      },
    ],
  }

  async function start(name: string, dataDir: string): Promise<void> {
    const service = launchService(dataDir, {
      ...{ DATABASE_URL, NODE_NAME: name, NODE_URL: `http://${loopback}:0` },
      ...{ GPU_IDS: '0', SIM_SPEED: '10' },
    })
    nodes.set(name, { name, dataDir, service, url: await service.listening() })
  }

  async function leading(): Promise<Node> {
    return await until(async () => {
      for (const { url } of nodes.values()) {
        const listed = (await (await fetch(`${url}/nodes`)).json()) as { nodes?: Listed[] }
        const found = listed.nodes?.find(({ role }) => role === 'leader')
        if (found) return nodes.get(found.name)
      }
      return undefined
    })
  }

  async function untilAllAreThere(): Promise<void> {
    const { url } = await leading()
    await until(async () => {
      const gpus = await gpusOf(url)
      return gpus.length === names.length && gpus.every(({ state }) => state === 'idle')
    })
  }

  /** How often the job was started on another machine than this one. */
  function startsOf(prompt: string, but: Node): number {
    const others = [...nodes.values()].filter(({ name }) => name !== but.name)
    return others
      .flatMap(({ dataDir }) => linesOf(dataDir))
      .filter((line) => line.includes(`"${prompt}"`)).length
  }
}

type Listed = Readonly<{ name: string; role: string }>
type ListedGpu = Readonly<{ node: string; state: string; job_id: string | null }>

const gpusOf = async (url: string): Promise<readonly ListedGpu[]> =>
  ((await (await fetch(`${url}/gpus`)).json()) as { gpus?: ListedGpu[] }).gpus ?? []

async function submit(url: string, prompt: string): Promise<string> {
  const body = JSON.stringify({ prompt, size: '1280x720', frames: 121, steps: 50 })
  const headers = { 'Content-Type': 'application/json' }
  const response = await fetch(`${url}/generate`, { method: 'POST', headers, body })
  return ((await response.json()) as { id: string }).id
}

function linesOf(dataDir: string): string[] {
  try {
    return readFileSync(join(dataDir, 'journal'), 'utf8').split('\n')
  } catch {
    return []
  }
}

/** Resolves with the first result that is neither false nor undefined. */
async function until<Result>(look: () => Promise<Result | undefined | false>): Promise<Result> {
  for (;;) {
    const found = await look().catch(() => undefined)
    if (found) return found as Result
    await delay(20)
  }
}
