/** Mail between the nodes of a cluster: the time of a letter and its answer, and the letters a second. */
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import { openClusterDatabase } from '../../src/cluster/database.ts'
import { readDatabaseClock } from '../../src/cluster/database-clock.ts'
import { type Mail, openMail } from '../../src/cluster/mail.ts'
import { joinCluster } from '../../src/cluster/membership.ts'
import type { MailAddress } from '../../src/cluster/outbox.ts'
import { migratePostgres } from '../../src/infra/store/postgres/migrate-postgres.ts'
import { startPostgresServer } from '../postgres.ts'
import { ms, quantile, type Report, times } from './figures.ts'

const listeners = 20
const roundTrips = 2_000
const letters = 100_000

export async function mail(say: (line: string) => void): Promise<Report> {
  await using postgres = await startPostgresServer()
  const url = postgres.url('postgres')
  await migratePostgres(url)
  const floor = await bareRoundTrips(url)
  say(`bare notification and back: ${ms(quantile(floor, 0.5))}`)
  await using started = new AsyncDisposableStack()
  const nodes: Node[] = []
  for (let n = 0; n < listeners; n++) nodes.push(await aNode(url, `node-${n}`, started))
  while (!nodes.every((node) => node.mail.isListening())) await delay(50)

  const taken = await measureRoundTrips(nodes)
  say(`letter and answer: ${ms(quantile(taken, 0.5))}`)
  const seconds = await measureFlood(nodes)
  const rate = (letters / seconds).toFixed(0)
  say(`${rate} letters a second`)
  const row = (name: string, found: readonly number[]) => [
    name,
    ms(quantile(found, 0.5)),
    ms(quantile(found, 0.99)),
    times(quantile(found, 0.5) / quantile(floor, 0.5)),
  ]
  return {
    how: `${listeners} nodes that listen, ${roundTrips} letters one after the other, then ${letters} from one node to all`,
    tables: [
      {
        head: ['from one node to another and back', 'p50', 'p99', '÷ bare'],
        rows: [row('bare `pg_notify` and `LISTEN`', floor), row('a letter and its answer', taken)],
      },
      { head: ['letters of 100 bytes from one node', 'a second'], rows: [['in batches', rate]] },
    ],
  }
}

type Node = {
  address: MailAddress
  mail: Mail
  received: number
  onLetter: (body: string) => void
}

async function aNode(url: string, name: string, started: AsyncDisposableStack): Promise<Node> {
  const quiet = () => {}
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
  const database = await openClusterDatabase({ url })
  const membership = await joinCluster({
    connection: database.beats,
    me: { name, home: name },
    description: { url: '', version: '', gpus: [], maxLoads: 1 },
    clock: await readDatabaseClock(database.beats),
    observer: { rejoined: quiet, expelled: quiet },
    log,
  })
  const node: Node = {
    address: { node: name, session: membership.session() },
    received: 0,
    onLetter: quiet,
    mail: openMail({
      database,
      node: name,
      session: membership.session,
      term: () => undefined,
      onLetter(body) {
        node.received += 1
        node.onLetter(body)
      },
      onMissed: quiet,
      log,
    }),
  }
  started.defer(async () => {
    await node.mail.close()
    await membership.leave()
    await database.close()
  })
  return node
}

async function measureRoundTrips(nodes: readonly Node[]): Promise<number[]> {
  const [asker, ...others] = nodes as [Node, ...Node[]]
  for (const other of others) {
    other.onLetter = () => void other.mail.post(asker.address, 'answer')
  }
  const taken: number[] = []
  while (taken.length < roundTrips) {
    const other = others[taken.length % others.length] as Node
    const sentAt = performance.now()
    const answered = new Promise<void>((resolve) => {
      asker.onLetter = () => resolve()
    })
    asker.mail.post(other.address, 'question')
    await answered
    taken.push(performance.now() - sentAt)
  }
  for (const node of nodes) node.onLetter = () => {}
  return taken
}

async function measureFlood(nodes: readonly Node[]): Promise<number> {
  const [sender] = nodes as [Node, ...Node[]]
  const before = nodes.map(({ received }) => received)
  const arrived = () => nodes.reduce((sum, node, n) => sum + node.received - (before[n] ?? 0), 0)
  const body = 'x'.repeat(100)
  const begunAt = performance.now()
  for (let n = 0; n < letters; n++) {
    const to = nodes[n % nodes.length] as Node
    sender.mail.post(to.address, body)
    if (n % 1_000 === 0) while (sender.mail.counts().waiting > 10_000) await delay(1)
  }
  while (arrived() < letters) await delay(1)
  return (performance.now() - begunAt) / 1_000
}

/** The floor: a notification from one connection to another, and one back. */
async function bareRoundTrips(url: string): Promise<number[]> {
  const [one, other] = [new Client(url), new Client(url)]
  for (const client of [one, other]) await client.connect()
  await one.query('listen one')
  await other.query('listen other')
  other.on('notification', () => void other.query(`notify one`))
  const taken: number[] = []
  while (taken.length < roundTrips) {
    const sentAt = performance.now()
    const answered = once(one, 'notification')
    await one.query('notify other')
    await answered
    taken.push(performance.now() - sentAt)
  }
  for (const client of [one, other]) await client.end()
  return taken
}
