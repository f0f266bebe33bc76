/** The time without a leader after the leader was killed, with the default settings of an election. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { defaultBeatMs, defaultLeaderLostMs } from '../../src/cluster/election.ts'
import { migratePostgres } from '../../src/infra/store/postgres/migrate-postgres.ts'
import { startPostgresServer } from '../postgres.ts'
import { quantile, type Report } from './figures.ts'

const kills = 40
const names = ['a', 'b', 'c']

export async function election(say: (line: string) => void): Promise<Report> {
  await using postgres = await startPostgresServer()
  const url = postgres.url('postgres')
  await migratePostgres(url)
  const nodes = new Map<string, ChildProcess>()
  await using started = new AsyncDisposableStack()
  started.defer(() => {
    for (const child of nodes.values()) child.kill('SIGKILL')
  })
  const elected: Elected[] = []
  let wake = () => {}
  const start = (name: string) =>
    nodes.set(
      name,
      launch(url, name, (term) => {
        elected.push({ name, term, at: performance.now() })
        wake()
      }),
    )
  const next = async (after: number): Promise<Elected> => {
    while (elected.length <= after) await new Promise<void>((resolve) => (wake = resolve))
    return elected[after] as Elected
  }
  for (const name of names) start(name)

  const gaps: number[] = []
  let leader = await next(0)
  while (gaps.length < kills) {
    // A beat of the leader and looks of the others, at another moment each time.
    await delay(2 * defaultBeatMs + Math.random() * defaultBeatMs)
    const child = nodes.get(leader.name) as ChildProcess
    const killedAt = performance.now()
    child.kill('SIGKILL')
    await once(child, 'exit')
    const following = await next(elected.length)
    if (following.term <= leader.term) throw new Error(`term ${following.term} came twice`)
    gaps.push((following.at - killedAt) / 1_000)
    say(`kill ${gaps.length}: ${gaps.at(-1)?.toFixed(2)} s`)
    start(leader.name)
    leader = following
  }
  const seconds = (share: number) => `${quantile(gaps, share).toFixed(2)} s`
  return {
    how: `${names.length} nodes, ${kills} kills with SIGKILL, ${elected.length} terms; beats every ${defaultBeatMs} ms, lost after ${defaultLeaderLostMs / 1_000} s`,
    tables: [
      {
        head: ['leader killed → next leads', 'fastest', 'p50', 'p99', 'slowest'],
        rows: [['', seconds(0), seconds(0.5), seconds(0.99), seconds(1)]],
      },
    ],
  }
}

type Elected = Readonly<{ name: string; term: number; at: number }>

function launch(url: string, name: string, leads: (term: number) => void): ChildProcess {
  const program = join(import.meta.dirname, 'election-process.ts')
  const child = spawn(process.execPath, [program, url, name, name, String(defaultLeaderLostMs)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  createInterface({ input: child.stdout }).on('line', (line) => {
    const { event, term } = JSON.parse(line) as { event: string; term: number }
    if (event === 'leads') leads(term)
  })
  return child
}
