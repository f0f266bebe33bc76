/** The gain of each piece of `http/fast` and `infra/fast`: the service with it beside the service without. */
import type { ChildProcess } from 'node:child_process'
import { aDirectory, type BenchService, launchService, removeDirectory } from '../service.ts'
import { submit } from './client.ts'
import { median, type Report, times } from './figures.ts'
import { load } from './load.ts'
import { running, start } from './polls.ts'

/** Short ones, in turns that begin with the other side each time: both meet the same noise. */
const seconds = 1
/** Of each pair of processes: two of the same program may differ by some percent for as long as they live. */
const roundsOfPair = 5
const warmUpSeconds = 3
const connections = { polls: 16, submits: 64 }
const readers = 100

type Piece = Readonly<{ name: string; module: string; standIn: string }>

/** Each stand-in does the same in the plainest way. */
const pieces: readonly Piece[] = [
  { name: 'answer', module: 'http/fast/answer.ts', standIn: 'answer.ts' },
  { name: 'outgoing', module: 'http/fast/outgoing.ts', standIn: 'outgoing.ts' },
  { name: 'rememberPaths', module: 'http/fast/remember-paths.ts', standIn: 'remember-paths.ts' },
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

export async function measurePieces(say: Say, pairs: number): Promise<Report> {
  const rows = [['nothing: the noise', ...(await measure('nothing', {}, { pairs, say }))]]
  for (const piece of pieces) {
    const cells = await measure(piece.name, without(piece), { pairs, say })
    rows.push([`\`${piece.name}\``, ...cells])
  }
  const polls = `polls of one job: ${connections.polls} connections, ${readers} readers of \`/events\``
  return {
    how: `from source, ${pairs} pairs of new services, ${roundsOfPair} rounds of ${seconds} s each, in turns; ${polls}; submits: ${connections.submits} connections; CPU time of the service, ÷ that of the service as it is beside it`,
    tables: [{ head: ['without', ...headOf('poll'), ...headOf('submit')], rows }],
  }
}

const headOf = (load: string): string[] => [`${load}s a second`, `CPU of a ${load}`, '÷ with']

function without({ module, standIn }: Piece): NodeJS.ProcessEnv {
  const hook = new URL('pieces/replace-module.ts', import.meta.url)
  return {
    NODE_OPTIONS: `--import=${hook}`,
    REPLACED: new URL(`../../src/${module}`, import.meta.url).href,
    REPLACED_BY: new URL(`pieces/${standIn}`, import.meta.url).href,
  }
}

/** Cells of both loads: answers a second, CPU of an answer, and that beside the service as it is. */
async function measure(
  name: string,
  env: NodeJS.ProcessEnv,
  { pairs, say }: Readonly<{ pairs: number; say: Say }>,
): Promise<string[]> {
  const cells: string[] = []
  for (const [kind, prepare] of Object.entries(loads)) {
    const found: Sides[] = []
    for (let pair = 0; pair < pairs; pair++) found.push(await compare(env, prepare, pair))
    const ratios = found.map((sides) => cpuOfAnswer(sides.without) / cpuOfAnswer(sides.with))
    const ratio = times(geometricMean(ratios))
    say(`without ${name}: ${kind}: ${ratio} (${ratios.map(times).join(', ')})`)
    const all = found.flatMap((sides) => sides.without)
    const perSecond = median(all.map((round) => round.answers / seconds))
    cells.push(perSecond.toFixed(0), `${(cpuOfAnswer(all) * 1e6).toFixed(1)} µs`, ratio)
  }
  return cells
}

const cpuOfAnswer = (rounds: readonly Round[]): number => {
  const sum = (of: (round: Round) => number) => rounds.reduce((all, one) => all + of(one), 0)
  return sum(({ cpu }) => cpu) / sum(({ answers }) => answers)
}

/** Two processes of one program may differ for as long as they live, in both directions. */
const geometricMean = (ratios: readonly number[]): number =>
  Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length)

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

/** CPU seconds of the service: other work of the machine hardly shows in them. */
type Round = Readonly<{ answers: number; cpu: number }>
type Sides = Record<'without' | 'with', Round[]>

async function compare(env: NodeJS.ProcessEnv, prepare: Prepare, pair: number): Promise<Sides> {
  const others: ChildProcess[] = []
  const launched: Readonly<{ service: BenchService; directory: string }>[] = []
  // So slow that what is at work stays so.
  const common = { SIM_SPEED: '0.1', MAX_QUEUE: '1000000' }
  const launch = (more: NodeJS.ProcessEnv): BenchService => {
    const directory = aDirectory()
    const service = launchService(directory, { ...common, ...more }, { from: 'source' })
    launched.push({ service, directory })
    return service
  }
  try {
    const ready: Readonly<{ side: keyof Sides; service: BenchService; target: Target }>[] = []
    for (const side of inTurn(['without', 'with'] as const, pair)) {
      const service = launch(side === 'without' ? env : {})
      ready.push({ side, service, target: await prepare(await service.listening(), others) })
    }
    for (const { target } of ready) await load({ ...target, seconds: warmUpSeconds })
    const sides: Sides = { without: [], with: [] }
    for (let round = 0; round < roundsOfPair; round++) {
      for (const { side, service, target } of inTurn(ready, round)) {
        const before = service.cpu()
        const { requests } = await load({ ...target, seconds })
        sides[side].push({ answers: requests, cpu: service.cpu() - before })
      }
    }
    return sides
  } finally {
    for (const other of others) other.kill('SIGKILL')
    for (const { service, directory } of launched) {
      await service.kill()
      removeDirectory(directory)
    }
  }
}

const inTurn = <Side>(sides: readonly Side[], turn: number): readonly Side[] =>
  turn % 2 === 0 ? sides : sides.toReversed()
