/**
 * What a large cluster costs its leader: 100 nodes with 16 GPUs each, and 100,000 jobs that wait. PostgreSQL, the
 * leader and its successor are real. The other nodes are simulated, all in one process (`cluster/simulated-node.ts`):
 * connections, membership, mail and actors are those of the service, and generations are timers.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import { migratePostgres } from '../../src/infra/store/postgres/migrate-postgres.ts'
import { startPostgresServer } from '../postgres.ts'
import { cpuOf, cpuOfTree } from '../process-cpu.ts'
import { aDirectory, type BenchService, launchService, removeDirectory } from '../service.ts'
import { send } from './client.ts'
import type { NodeCounts } from './cluster/simulated-nodes.ts'
import { stepMs } from './cluster/simulated-work.ts'
import { durableJobColumns, durableJobRow } from './durable-job.ts'
import { ms, quantile, type Report } from './figures.ts'
import { loopback } from './free-port.ts'
import type { ProbeTimes } from './status-probe.ts'
import { until } from './wait.ts'

const gpusPerNode = 16
const waiting = 100_000
/** A generation takes five minutes. */
const steps = 150

const floorSeconds = 10
const warmUpSeconds = 20
const seconds = 60
const cancels = 20
const leaderKills = 3

/** GPUs that generate at any time, at least: one that has ended waits for its next job. */
const busyShare = 0.97
/** On a machine with other work. */
const patienceMs = 180_000

type Node = { readonly name: string; readonly dataDir: string; service: BenchService; url: string }

/** Shares of a core. */
type Load = Readonly<{ leader: number; postgres: number; nodes: number; probe: ProbeTimes }>

type Traffic = Readonly<{ letters: number; transactions: number; connections: number }>

type Crowd = Readonly<{ child: ChildProcess; counts(): NodeCounts }>

type Failover = Readonly<{ answers: number; complete: number }>

export async function clusterScale(say: (line: string) => void, nodes: number): Promise<Report> {
  const gpus = nodes * gpusPerNode
  // 5 of each node, and those of the leader and its successor.
  const maxConnections = 5 * nodes + 50
  await using postgres = await startPostgresServer({ maxConnections })
  await using started = new AsyncDisposableStack()
  const url = await postgres.createDatabase()
  await migratePostgres(url)
  const client = new Client(url)
  await client.connect()
  started.defer(() => client.end())
  const last = await fillQueue(client)
  say(`${waiting} jobs wait`)

  let leader = await startService('one')
  await until(async () => (await send(`${leader.url}/status/${last}`)).ok)
  let successor = await startService('two')
  const idle = await measure(floorSeconds)
  say(`without other nodes: ${describe(idle)}`)

  const crowd = startNodes(url, nodes)
  started.defer(() => void crowd.child.kill('SIGKILL'))
  await until(async () => crowd.counts().generating >= gpus * busyShare, 100, patienceMs)
  say(`${gpus} GPUs generate`)
  await delay(warmUpSeconds * 1_000)
  const before = await trafficOf(client)
  const generatedBefore = crowd.counts().generated
  const busy = await measure(seconds, crowd.child)
  const after = await trafficOf(client)
  const ends = (crowd.counts().generated - generatedBefore) / seconds
  say(`with ${nodes} nodes: ${describe(busy)}, they ${percent(busy.nodes)}`)
  const canceled = await cancelSome()
  say(`cancels: p50 ${ms(quantile(canceled, 0.5))}`)

  const memory = [leader.service.peakMemory()]
  const failovers: Failover[] = []
  for (let kill = 1; kill <= leaderKills; kill++) {
    failovers.push(await killLeader())
    memory.push(leader.service.peakMemory())
    say(`leader ${kill} killed: ${JSON.stringify(failovers.at(-1))}`)
  }
  const { missed, dropped } = crowd.counts()
  const rate = (key: 'letters' | 'transactions') =>
    ((after[key] - before[key]) / seconds).toFixed(0)
  const worst = (of: (one: Failover) => number) => `${Math.max(...failovers.map(of)).toFixed(1)} s`
  const share = (of: (one: Load) => number, wanted = '') => [
    percent(of(idle)),
    percent(of(busy)),
    wanted,
  ]
  return {
    how: `${nodes} nodes of ${gpusPerNode} GPUs, a reading of each GPU every ${stepMs / 1_000} s, ${ends.toFixed(1)} generations end a second, ${waiting.toLocaleString('en')} jobs wait; ${seconds} s after ${warmUpSeconds} s of warm-up; ${busy.probe.count} statuses from one client; ${leaderKills} kills of the leader; ${missed} letters missed, ${dropped} dropped`,
    tables: [
      {
        head: ['', 'without other nodes', 'with them', 'wanted'],
        rows: [
          ['leader, share of a core', ...share((one) => one.leader, '≤ 50 %')],
          ['`GET /status/{id}`, p50', ms(idle.probe.p50), ms(busy.probe.p50), ''],
          ['p99', ms(idle.probe.p99), ms(busy.probe.p99), '≤ 20 ms'],
          ['worst', ms(idle.probe.worst), ms(busy.probe.worst), ''],
          ['leader, peak resident memory', '', `${Math.max(...memory).toFixed(0)} MB`, '≤ 500 MB'],
          ['PostgreSQL, share of a core', ...share((one) => one.postgres)],
          ['all simulated nodes, share of a core', '', percent(busy.nodes), ''],
          ['letters a second', '', rate('letters'), ''],
          ['transactions a second', '', rate('transactions'), ''],
          ['connections to PostgreSQL', '', String(after.connections), ''],
          [`cancel of a running job, p50 of ${cancels}`, '', ms(quantile(canceled, 0.5)), ''],
          ['leader killed → another one answers', '', worst(({ answers }) => answers), ''],
          ['leader killed → all GPUs are back', '', worst(({ complete }) => complete), ''],
        ],
      },
    ],
  }

  async function startService(name: string, dataDir = aDirectory()): Promise<Node> {
    const service = launchService(dataDir, {
      ...{ DATABASE_URL: url, NODE_NAME: name, NODE_URL: `http://${loopback}:0`, GPU_IDS: 'none' },
    })
    started.defer(async () => {
      await service.kill()
      removeDirectory(dataDir)
    })
    return { name, dataDir, service, url: await service.listening() }
  }

  async function measure(forSeconds: number, others?: ChildProcess): Promise<Load> {
    const program = join(import.meta.dirname, 'status-probe.ts')
    const probe = spawn(process.execPath, [program, leader.url])
    const cpu = () => [
      leader.service.cpu(),
      cpuOfTree(postgres.pid()),
      others?.pid === undefined ? 0 : cpuOf(others.pid),
    ]
    try {
      const first = cpu()
      const begunAt = performance.now()
      await delay(forSeconds * 1_000)
      const took = (performance.now() - begunAt) / 1_000
      const [leaders, servers, crowds] = cpu().map((value, n) => (value - (first[n] ?? 0)) / took)
      const said = text(probe.stdout)
      probe.kill('SIGTERM')
      const times = JSON.parse(await said) as ProbeTimes
      return { leader: leaders ?? 0, postgres: servers ?? 0, nodes: crowds ?? 0, probe: times }
    } finally {
      probe.kill('SIGKILL')
    }
  }

  /** Milliseconds until each is canceled, on a GPU of any node. */
  async function cancelSome(): Promise<number[]> {
    const took: number[] = []
    const page = await send(`${leader.url}/jobs?status=running&limit=${cancels}`)
    const { jobs } = (await page.json()) as { jobs: { id: string }[] }
    for (const { id } of jobs) {
      const begunAt = performance.now()
      const answer = await send(`${leader.url}/jobs?ids=${id}`, 'DELETE')
      if (!answer.ok) throw new Error(`not canceled: ${await answer.text()}`)
      await answer.arrayBuffer()
      took.push(performance.now() - begunAt)
    }
    return took
  }

  /** Seconds. The killed service is started again, and is the next successor. */
  async function killLeader(): Promise<Failover> {
    const killed = leader
    const { url } = successor
    const isAnswered = async () => (await send(`${url}/status/${last}`)).ok
    // It follows.
    await until(isAnswered, 20, patienceMs)
    const killedAt = performance.now()
    const since = () => (performance.now() - killedAt) / 1_000
    await killed.service.crash()
    await until(isAnswered, 20, patienceMs)
    const answers = since()
    await until(async () => (await readyGpus(url)) >= gpus, 100, patienceMs)
    const complete = since()
    leader = successor
    successor = await startService(killed.name, killed.dataDir)
    return { answers, complete }
  }
}

/** Resolves with the id of the last job. */
async function fillQueue(client: Client): Promise<string> {
  const columns = durableJobColumns.join(', ')
  const perInsert = 5_000
  let last = ''
  for (let done = 0; done < waiting; done += perInsert) {
    const rows = Array.from({ length: perInsert }, (_, n) => ({
      ...durableJobRow(done + n + 1),
      steps,
    }))
    last = rows.at(-1)?.id ?? ''
    await client.query(
      `insert into job (${columns}) select ${columns} from jsonb_populate_recordset(null::job, $1)`,
      [JSON.stringify(rows)],
    )
  }
  await client.query('analyze job')
  return last
}

function startNodes(url: string, nodes: number): Crowd {
  const program = join(import.meta.dirname, 'cluster', 'simulated-nodes.ts')
  const args = [program, url, nodes, gpusPerNode, steps].map(String)
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const zero = { generating: 0, generated: 0, converted: 0, posted: 0, received: 0 }
  let latest: NodeCounts = { ...zero, nodes: 0, missed: 0, dropped: 0 }
  createInterface(child.stdout).on('line', (line) => {
    latest = JSON.parse(line) as NodeCounts
  })
  return { child, counts: () => latest }
}

/** Sums since the start of the server. */
async function trafficOf(client: Client): Promise<Traffic> {
  const { rows } = await client.query<Record<keyof Traffic, string>>(
    `select
       (select n_tup_ins from pg_stat_user_tables where relname = 'mail') as letters,
       (select xact_commit from pg_stat_database where datname = current_database()) as transactions,
       (select count(*) from pg_stat_activity
        where datname = current_database() and application_name like 'wan-supervisor%') as connections`,
  )
  const [row] = rows
  return {
    letters: Number(row?.letters),
    transactions: Number(row?.transactions),
    connections: Number(row?.connections),
  }
}

async function readyGpus(url: string): Promise<number> {
  const answer = await send(`${url}/gpus`)
  const listed = (await answer.json()) as { gpus?: { state: string }[] }
  return listed.gpus?.filter(({ state }) => state === 'busy' || state === 'idle').length ?? 0
}

const describe = ({ leader, postgres, probe: { p50, p99 } }: Load): string =>
  `leader ${percent(leader)}, PostgreSQL ${percent(postgres)}, status p50 ${ms(p50)}, p99 ${ms(p99)}`

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`
