/** How many durable submits a second, beside bare inserts, each durable before the next, and BullMQ's. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { aDirectory, launchService, removeDirectory } from '../service.ts'
import { type Adds, bullAdds } from './bull-adds.ts'
import { median, ms, type Report, times } from './figures.ts'
import { load } from './load.ts'
import { NotInstalled } from './queue/contender.ts'
import { installPeers } from './queue/peers.ts'
import { isInstalled } from './queue/servers.ts'

const run = promisify(execFile)

const rounds = 3
const seconds = 3

export async function submits(say: (line: string) => void): Promise<Report> {
  const raw: number[] = []
  const found: Record<string, Adds[]> = {}
  const hasRedis = isInstalled('redis-server')
  if (hasRedis) installPeers()
  else say(`without BullMQ: ${new NotInstalled('redis-server', 'redis-server').message}`)
  for (let round = 1; round <= rounds; round++) {
    raw.push(await rawInserts())
    say(`round ${round}: bare inserts: ${raw.at(-1)?.toFixed(0)} a second`)
    for (const atOnce of [1, 8, 64]) {
      const ways = {
        [`POST /generate, ${atOnce} at once`]: submitFor,
        ...(hasRedis && { [`BullMQ's \`add\`, ${atOnce} at once`]: bullAdds }),
      }
      for (const [way, measure] of Object.entries(ways)) {
        const one = await measure(atOnce, seconds)
        found[way] = [...(found[way] ?? []), one]
        say(`round ${round}: ${way}: ${one.perSecond.toFixed(0)} a second`)
      }
    }
  }
  const rows = Object.entries(found).map(([way, loads]) => {
    const middle = (of: (one: Adds) => number) => median(loads.map(of))
    const ratios = loads.map(({ perSecond }, round) => perSecond / (raw[round] ?? 0))
    const figures = [ms(middle(({ p50 }) => p50)), ms(middle(({ p99 }) => p99))]
    return [way, middle(({ perSecond }) => perSecond).toFixed(0), ...figures, times(median(ratios))]
  })
  const bare = [
    'bare inserts at `synchronous=FULL`, one by one',
    median(raw).toFixed(0),
    '',
    '',
    '1.00',
  ]
  return {
    how: `${rounds} rounds of ${seconds} s, each with a new database; medians of the rounds`,
    tables: [{ head: ['durable jobs', 'a second', 'p50', 'p99', '÷ bare'], rows: [bare, ...rows] }],
  }
}

async function rawInserts(): Promise<number> {
  const script = join(import.meta.dirname, 'raw-inserts.ts')
  const { stdout } = await run(process.execPath, [script, String(seconds)])
  return Number(stdout)
}

/** Every answer is counted against the jobs that are there. */
async function submitFor(connections: number): Promise<Adds> {
  const directory = aDirectory()
  // Both GPUs have something to do for as long as this takes: claims are measured elsewhere.
  const service = launchService(directory, { SIM_SPEED: '0.1', MAX_QUEUE: '1000000' })
  try {
    const url = `${await service.listening()}/generate`
    const body = { prompt: 'A durable job, number %d', size: '1280x720' }
    await load({ url, connections, seconds: 1, body })
    return await load({ url, connections, seconds, body })
  } finally {
    await service.kill()
    removeDirectory(directory)
  }
}
