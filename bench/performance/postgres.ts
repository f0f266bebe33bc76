/** Durable submits and polls with PostgreSQL, beside bare inserts into it and beside SQLite. */
import { Client } from 'pg'
import { migratePostgres } from '../../src/infra/store/postgres/migrate-postgres.ts'
import { type PostgresServer, startPostgresServer } from '../postgres.ts'
import { aDirectory, launchService, removeDirectory } from '../service.ts'
import { submit } from './client.ts'
import { durableJobColumns, durableJobRow } from './durable-job.ts'
import { median, ms, type Report, times } from './figures.ts'
import { type Load, load } from './load.ts'

const rounds = 5
const seconds = 3

export async function postgres(say: (line: string) => void): Promise<Report> {
  const raw: number[] = []
  const submits = new Map<string, Load[]>()
  const polls = new Map<string, Load[]>()
  await using server = await startPostgresServer()
  for (let round = 1; round <= rounds; round++) {
    raw.push(await rawInserts(server))
    say(`round ${round}: bare inserts: ${raw.at(-1)?.toFixed(0)} a second`)
    const databases = { PostgreSQL: await server.createDatabase(), SQLite: '' }
    for (const [name, DATABASE_URL] of Object.entries(databases)) {
      for (const one of await measure(DATABASE_URL)) {
        const way = `${one.what} with ${name}`
        const all = one.what.startsWith('POST') ? submits : polls
        all.set(way, [...(all.get(way) ?? []), one])
        say(`round ${round}: ${way}: ${one.perSecond.toFixed(0)} a second`)
      }
    }
  }
  const sqlite = (way: string) => polls.get(way.replace('PostgreSQL', 'SQLite')) ?? []
  const rows = (all: ReadonlyMap<string, readonly Load[]>, floor: (way: string) => number[]) =>
    [...all].map(([way, loads]) => {
      const middle = (of: (one: Load) => number) => median(loads.map(of))
      const floors = floor(way)
      const ratios = loads.map(({ perSecond }, round) => perSecond / (floors[round] ?? 0))
      return [
        way,
        middle(({ perSecond }) => perSecond).toFixed(0),
        ms(middle(({ p50 }) => p50)),
        ms(middle(({ p99 }) => p99)),
        times(median(ratios)),
      ]
    })
  const bare = ['bare inserts into PostgreSQL, one by one', median(raw).toFixed(0), '', '', '1.00']
  return {
    how: `${rounds} rounds of ${seconds} s, each with a new database on the same disk (\`synchronous_commit=on\`); medians of the rounds`,
    tables: [
      {
        head: ['durable jobs', 'a second', 'p50', 'p99', '÷ bare'],
        rows: [bare, ...rows(submits, () => raw)],
      },
      {
        head: ['polls of one job, 16 connections', 'a second', 'p50', 'p99', '÷ SQLite'],
        rows: rows(polls, (way) => sqlite(way).map(({ perSecond }) => perSecond)),
      },
    ],
  }
}

/** As many jobs as one client inserts, each durable before the next. */
async function rawInserts(server: PostgresServer): Promise<number> {
  const url = await server.createDatabase()
  await migratePostgres(url)
  const client = new Client(url)
  await client.connect()
  try {
    const text = `insert into job (${durableJobColumns.join(', ')}) values (${durableJobColumns.map((_, n) => `$${n + 1}`).join(', ')})`
    let count = 0
    const begun = performance.now()
    while (performance.now() - begun < seconds * 1_000) {
      await client.query({ name: 'insert', text, values: Object.values(durableJobRow(++count)) })
    }
    return (count / (performance.now() - begun)) * 1_000
  } finally {
    await client.end()
  }
}

/** New jobs, alone and many at once, and polls of one that runs. */
async function measure(DATABASE_URL: string): Promise<readonly (Load & { what: string })[]> {
  const directory = aDirectory()
  // Both GPUs have something to do for as long as this takes.
  const NODE_URL = 'http://127.0.0.1:0'
  const settings = { SIM_SPEED: '0.1', MAX_QUEUE: '1000000', DATABASE_URL, NODE_URL }
  const service = launchService(directory, settings)
  try {
    const url = await service.listening()
    const body = { prompt: 'A durable job, number %d', size: '1280x720' }
    const id = await submit(url, { prompt: 'A poll a second', size: '1280x720' })
    const found: (Load & { what: string })[] = []
    for (const connections of [1, 64]) {
      const target = { url: `${url}/generate`, connections, body }
      await load({ ...target, seconds: 1 })
      const what = `POST /generate, ${connections} at once,`
      found.push({ what, ...(await load({ ...target, seconds })) })
    }
    const poll = { url: `${url}/status/${id}`, connections: 16 }
    await load({ ...poll, seconds: 1 })
    found.push({ what: 'GET /status/{id}', ...(await load({ ...poll, seconds })) })
    return found
  } finally {
    await service.kill()
    removeDirectory(directory)
  }
}
