/** The gain of each piece of `http/fast` and `infra/fast`: the service with it beside the service without. */
import type { ChildProcess } from 'node:child_process'
import { aDirectory, type BenchService, launchService, removeDirectory } from '../service.ts'
import { submit } from './client.ts'
import { median, type Report, times } from './figures.ts'
import { load } from './load.ts'
import { running, start } from './polls.ts'

/** Short ones, in turns that begin with the other side each time: both meet the same noise. */
const seconds = 1
const warmUpSeconds = 3
const connections = { polls: 16, submits: 64 }
const readers = 100

type Piece = Readonly<{ name: string; module: string; standIn: string }>

/** Each stand-in does the same in the plainest way. */
const pieces: readonly Piece[] = [
  { name: 'answer', module: 'http/fast/answer.ts', standIn: 'answer.ts' },
  { name: 'outgoing', module: 'http/fast/outgoing.ts', standIn: 'outgoing.ts' },
  { name: 'rememberLast', module: 'http/fast/remember.ts', standIn: 'remember-last.ts' },
  { name: 'rememberPaths', module: 'http/fast/remember.ts', standIn: 'remember-paths.ts' },
  {
    name: 'remembering-router',
    module: 'http/fast/remembering-router.ts',
    standIn: 'remembering-router.ts',
  },
  { name: 'share', module: 'http/fast/share.ts', standIn: 'share.ts' },
  { name: 'insert', module: 'infra/fast/insert.ts', standIn: 'insert.ts' },
  { name: 'job-cache', module: 'infra/fast/job-cache.ts', standIn: 'job-cache.ts' },
  { name: 'runtime', module: 'infra/fast/runtime.ts', standIn: 'runtime.ts' },
]

type Say = (line: string) => void

export async function measurePieces(say: Say, rounds: number): Promise<Report> {
  const rows = [['nothing: the noise', ...(await measure('nothing', {}, { rounds, say }))]]
  for (const piece of pieces) {
    const cells = await measure(piece.name, without(piece), { rounds, say })
    rows.push([`\`${piece.name}\``, ...cells])
  }
  const polls = `polls of one job: ${connections.polls} connections, ${readers} readers of \`/events\``
  return {
    how: `from source, ${rounds} rounds of ${seconds} s, in turns; ${polls}; submits: ${connections.submits} connections; medians of the rounds`,
    tables: [{ head: ['without', ...headOf('polls'), ...headOf('submits')], rows }],
  }
}

const headOf = (load: string): string[] => [`${load} a second`, 'with', 'without ÷ with']

function without({ module, standIn }: Piece): NodeJS.ProcessEnv {
  const hook = new URL('pieces/replace-module.ts', import.meta.url)
  return {
    NODE_OPTIONS: `--import=${hook}`,
    REPLACED: new URL(`../../src/${module}`, import.meta.url).href,
    REPLACED_BY: new URL(`pieces/${standIn}`, import.meta.url).href,
  }
}

/** Cells: how many a second without, how many with, and the median of the rounds' ratios; of both loads. */
async function measure(
  name: string,
  env: NodeJS.ProcessEnv,
  { rounds, say }: Readonly<{ rounds: number; say: Say }>,
): Promise<string[]> {
  const cells: string[] = []
  for (const [kind, prepare] of Object.entries(loads)) {
    const found = await compare(env, prepare, rounds)
    const ratio = times(median(found.without.map((one, round) => one / (found.with[round] ?? 0))))
    say(`without ${name}: ${kind}: ${ratio}`)
    cells.push(median(found.without).toFixed(0), median(found.with).toFixed(0), ratio)
  }
  return cells
}

type Target = Readonly<{ url: string; connections: number; body?: object }>

/** Makes a service ready for a load. */
type Prepare = (url: string, others: ChildProcess[]) => Promise<Target>

const loads: Readonly<Record<'polls' | 'submits', Prepare>> = {
  async polls(url, others) {
    const request = { prompt: 'A poll a second', size: '1280x720' }
    const [id = ''] = [await submit(url, request), await submit(url, request)]
    await running(url, id)
    await start(others, ['readers.ts', url, String(readers)])
    return { url: `${url}/status/${id}`, connections: connections.polls }
  },
  async submits(url) {
    const body = { prompt: 'A durable job, number %d', size: '1280x720' }
    return { url: `${url}/generate`, connections: connections.submits, body }
  },
}

/** Answers a second, by round. */
type Found = Readonly<{ without: readonly number[]; with: readonly number[] }>

async function compare(env: NodeJS.ProcessEnv, prepare: Prepare, rounds: number): Promise<Found> {
  const others: ChildProcess[] = []
  const services: Readonly<{ service: BenchService; directory: string }>[] = []
  // So slow that what is at work stays so.
  const common = { SIM_SPEED: '0.1', MAX_QUEUE: '1000000' }
  const launch = async (more: NodeJS.ProcessEnv): Promise<Target> => {
    const directory = aDirectory()
    const service = launchService(directory, { ...common, ...more }, { from: 'source' })
    services.push({ service, directory })
    return prepare(await service.listening(), others)
  }
  try {
    const targets = { without: await launch(env), with: await launch({}) }
    const found = { without: [] as number[], with: [] as number[] }
    const sides = ['without', 'with'] as const
    for (const side of sides) await load({ ...targets[side], seconds: warmUpSeconds })
    for (let round = 0; round < rounds; round++) {
      for (const side of round % 2 === 0 ? sides : sides.toReversed()) {
        const { perSecond } = await load({ ...targets[side], seconds })
        found[side].push(perSecond)
      }
    }
    return found
  } finally {
    for (const other of others) other.kill('SIGKILL')
    for (const { service, directory } of services) {
      await service.kill()
      removeDirectory(directory)
    }
  }
}
