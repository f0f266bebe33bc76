/** How many streams of events a leader with PostgreSQL can serve. */
import type { ChildProcess } from 'node:child_process'
import { get } from 'node:http'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { startPostgresServer } from '../postgres.ts'
import { aDirectory, type BenchService, launchService, removeDirectory } from '../service.ts'
import { send, submit } from './client.ts'
import { median, ms, quantile, type Report } from './figures.ts'
import { start } from './polls.ts'

/** A service has at most 2,000 connections. */
const counts = [0, 100, 500, 1_000, 1_900] as const
const warmUpSeconds = 3
const seconds = 8
/** Submits, each canceled after the next: two events. */
const perSecond = 10

type Found = Readonly<{ cpu: number; events: number; late: readonly number[]; memory: number }>

export async function streams(say: (line: string) => void): Promise<Report> {
  await using server = await startPostgresServer()
  const rows: string[][] = []
  for (const count of counts) {
    const { cpu, events, late, memory } = await measure(await server.createDatabase(), count)
    rows.push([
      count.toLocaleString('en'),
      (events * count).toFixed(0),
      `${(100 * cpu).toFixed(0)} %`,
      ms(median(late)),
      ms(quantile(late, 0.99)),
      `${memory.toFixed(0)} MB`,
    ])
    say(rows.at(-1)?.join(', ') ?? '')
  }
  return {
    how: `${perSecond} submits and ${perSecond} cancels a second for ${seconds} s, with PostgreSQL; the readers are another process on the same machine`,
    tables: [
      {
        head: [
          'readers of `/events`',
          'events sent a second, to all of them',
          'leader, of a core',
          'submit → seen by one more reader, p50',
          'p99',
          'memory',
        ],
        rows,
      },
    ],
  }
}

async function measure(DATABASE_URL: string, count: number): Promise<Found> {
  const directory = aDirectory()
  const others: ChildProcess[] = []
  // Both GPUs have something to do for as long as this takes. All readers come from one address, as through a proxy.
  const env = { NODE_URL: 'http://127.0.0.1:0', SIM_SPEED: '0.01', TRUST_PROXY: '1' }
  const service = launchService(directory, { DATABASE_URL, ...env })
  try {
    const url = await service.listening()
    await service.logged(({ msg }) => msg === 'this node leads the cluster')
    for (const prompt of ['one', 'two']) await submit(url, { prompt, size: '1280x720' })
    if (count > 0) await start(others, ['readers.ts', url, String(count)])
    return await withChanges(service, url)
  } finally {
    for (const other of others) other.kill('SIGKILL')
    await service.kill()
    removeDirectory(directory)
  }
}

async function withChanges(service: BenchService, url: string): Promise<Found> {
  const probe = await openProbe(url)
  await change(url, warmUpSeconds)
  probe.seen.clear()
  const [cpuBefore, eventsBefore, began] = [service.cpu(), probe.events(), performance.now()]
  const sent = await change(url, seconds)
  const elapsed = (performance.now() - began) / 1_000
  const cpu = (service.cpu() - cpuBefore) / elapsed
  const events = (probe.events() - eventsBefore) / elapsed
  // The last events are on their way.
  await delay(1_000)
  const late = [...sent].flatMap(([id, at]) => {
    const seenAt = probe.seen.get(id)
    return seenAt === undefined ? [] : [seenAt - at]
  })
  probe.close()
  return { cpu, events, late, memory: service.memory() }
}

/** When each submit was sent, by the monotonic clock, in milliseconds. */
async function change(url: string, forSeconds: number): Promise<ReadonlyMap<string, number>> {
  const sent = new Map<string, number>()
  const until = performance.now() + forSeconds * 1_000
  let last: string | undefined
  while (performance.now() < until) {
    const at = performance.now()
    const id = await submit(url, { prompt: 'a change', size: '1280x720' })
    sent.set(id, at)
    if (last) await send(`${url}/jobs?ids=${last}`, 'DELETE')
    last = id
    await delay(Math.max(0, at + 1_000 / perSecond - performance.now()))
  }
  return sent
}

/** One more reader, which notes when it has seen each job first. */
async function openProbe(url: string) {
  const seen = new Map<string, number>()
  let events = 0
  const request = get(`${url}/events`)
  const response = await new Promise<NodeJS.ReadableStream>((resolve) =>
    request.once('response', resolve),
  )
  const lines = createInterface(response)
  // It is cut off at the end.
  lines.on('error', () => {})
  lines.on('line', (line) => {
    if (!line.startsWith('data:')) return
    events++
    const id = /"id":"([0-9a-f-]{36})"/.exec(line)?.[1]
    if (id !== undefined && !seen.has(id)) seen.set(id, performance.now())
  })
  request.on('error', () => {})
  return { seen, events: () => events, close: () => request.destroy() }
}
