/** Full load for long, with cancels and failures: nothing may grow, and nobody may wait. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { aDirectory, type BenchService, launchService, removeDirectory } from '../service.ts'
import { slowFsync } from '../slow-fsync.ts'
import { send, submit } from './client.ts'
import { median, ms, type Report } from './figures.ts'
import type { ProbeTimes } from './status-probe.ts'

const gpus = 2
/** Waiting at any time. */
const queued = 50
const readers = 20
const maxSamples = 60
const minSampleMs = 5_000
/** Of what is over for a quarter of a minute, as a day of it would be. */
const purgeEveryMs = 5_000
/** And those tombstones for three times as long, as by default they are beside 30 days. */
const tombstoneDays = 45 / 86_400
const parts = 5

type Sample = Readonly<{
  memory: number
  files: number
  /** Milliseconds: 99 of 100 turns of the loop were late by no more, since the sample before. */
  delay: number
  database: number
}>

type Counts = { submitted: number; canceled: number }

export type SoakOptions = Readonly<{
  /** 30 for the long form. */
  minutes: number
  /** How much longer each fsync takes than on this disk. */
  fsyncMs: number
}>

export async function soak(
  say: (line: string) => void,
  { minutes, fsyncMs }: SoakOptions,
): Promise<Report> {
  const directory = aDirectory()
  const slow = fsyncMs > 0 ? slowFsync(fsyncMs) : undefined
  const service = launchService(directory, {
    SIM_DIRECTIVES: '1',
    // Failures are meant, and no reason to take a GPU away.
    QUARANTINE_AFTER: '1000',
    MAX_ATTEMPTS: '1',
    TOMBSTONE_DAYS: tombstoneDays.toFixed(6),
    ...slow?.env,
  })
  const counts: Counts = { submitted: 0, canceled: 0 }
  const samples: Sample[] = []
  const url = await service.listening()
  const listeners = spawn(process.execPath, [
    ...[join(import.meta.dirname, 'readers.ts'), url, String(readers)],
  ])
  const probe = spawn(process.execPath, [join(import.meta.dirname, 'status-probe.ts'), url])
  const sampleEveryMs = Math.max(minSampleMs, (minutes * 60_000) / maxSamples)
  const end = performance.now() + minutes * 60_000
  const work = keepBusy(url, counts, () => performance.now() < end)
  // Whoever waits for it hears of it, but not before the next sample.
  work.catch(() => {})
  let probed: ProbeTimes = { count: 0, p50: 0, p99: 0, worst: 0 }
  try {
    // What is compiled, cached and buffered once is no growth.
    await delay(Math.min(60_000, minutes * 20_000))
    await lateness(url)
    while (performance.now() < end) {
      await delay(sampleEveryMs)
      samples.push(await sample(service, url, directory))
      if (samples.length % 4 === 0) say(`${describe(samples.at(-1))}; ${JSON.stringify(counts)}`)
    }
    await work
    probed = await resultOf(probe)
    await checkCounts(url, counts)
  } finally {
    listeners.kill('SIGKILL')
    probe.kill('SIGKILL')
    slow?.remove()
    await service.kill()
    removeDirectory(directory)
  }
  return {
    how: `${minutes} minutes, a sample each ${sampleEveryMs / 1_000} s, ${gpus} GPUs, ${queued} jobs waiting, ${readers} readers of \`/events\`; of ${counts.submitted} jobs ${counts.canceled} were canceled, and one in eight fails${slow ? `; each fsync takes ${fsyncMs} ms longer` : ''}`,
    tables: [tableOf(samples), tableOfProbe(probed)],
  }
}

/** Keeps the queue full, cancels one of ten, polls what it has submitted, and lets records go. */
async function keepBusy(url: string, counts: Counts, isTime: () => boolean): Promise<void> {
  const open: string[] = []
  let purgeAt = 0
  while (isTime()) {
    const page = await json<{ jobs: { id: string }[] }>(`${url}/jobs?status=queued&limit=100`)
    for (let missing = queued - page.jobs.length; missing > 0; missing--) {
      const n = counts.submitted++
      const directive = n % 8 === 7 ? ' [sim:oom]' : ''
      const body = { prompt: `Soak ${n}${directive}`, size: '1280x720', frames: 5, steps: 4 }
      open.push(await submit(url, body))
      if (n % 10 !== 9) continue
      const victim = open[Math.floor(Math.random() * open.length)]
      const answer = await json<{ canceled?: object[] }>(`${url}/jobs?ids=${victim}`, 'DELETE')
      counts.canceled += answer.canceled?.length ?? 0
    }
    for (const id of open.splice(0, open.length - queued)) await json(`${url}/status/${id}`)
    if (performance.now() >= purgeAt) {
      purgeAt = performance.now() + purgeEveryMs
      await json(`${url}/admin/purge`, 'POST', { dry_run: false, older_than_days: 15 / 86_400 })
    }
    await delay(250)
  }
}

async function sample(service: BenchService, url: string, directory: string): Promise<Sample> {
  const { pid } = service.child
  return {
    memory: service.memory(),
    files: readdirSync(`/proc/${pid}/fd`).length,
    delay: await lateness(url),
    database: statSync(join(directory, 'state.db')).size / 1e6,
  }
}

/** Reading it begins it anew. */
async function lateness(url: string): Promise<number> {
  const page = await (await fetch(`${url}/metrics`)).text()
  return Number(/^nodejs_eventloop_lag_p99_seconds (\S+)/m.exec(page)?.[1]) * 1_000
}

/** Every job that was taken is over, waits or runs: none is lost. */
async function checkCounts(url: string, counts: Counts): Promise<void> {
  const page = await (await fetch(`${url}/metrics`)).text()
  const sum = (name: string) =>
    [...page.matchAll(new RegExp(`^${name}(?:{[^}]*})? (\\S+)`, 'gm'))].reduce(
      (total, [, value]) => total + Number(value),
      0,
    )
  const [ended, open] = [sum('wan_jobs_ended_total'), sum('wan_jobs')]
  if (ended + open !== counts.submitted) {
    throw new Error(`of ${counts.submitted} jobs ${ended} are over and ${open} are open`)
  }
}

async function resultOf(probe: ChildProcessWithoutNullStreams): Promise<ProbeTimes> {
  const said = text(probe.stdout)
  probe.kill('SIGTERM')
  return JSON.parse(await said) as ProbeTimes
}

function tableOfProbe({ count, p50, p99, worst }: ProbeTimes) {
  const cells = [String(count), ms(p50), ms(p99), ms(worst)]
  return {
    head: ['meanwhile', 'requests', 'p50', 'p99', 'worst'],
    rows: [['GET /status/{id}', ...cells]],
  }
}

/** The time in equal parts: what grows is larger in each. */
function tableOf(samples: readonly Sample[]) {
  const each = Math.floor(samples.length / parts)
  const rows = Array.from({ length: parts }, (_, part) => {
    const some = samples.slice(part * each, (part + 1) * each)
    const middle = (of: (one: Sample) => number) => median(some.map(of))
    return [
      `${part + 1} of ${parts}`,
      `${middle(({ memory }) => memory).toFixed(0)} MB`,
      middle(({ files }) => files).toFixed(0),
      ms(middle(({ delay }) => delay)),
      ms(Math.max(...some.map(({ delay }) => delay))),
      `${middle(({ database }) => database).toFixed(1)} MB`,
    ]
  })
  const head = [
    'part',
    'resident memory',
    'open files',
    'loop delay p99',
    'worst sample',
    'database',
  ]
  return { head, rows }
}

const describe = (one: Sample | undefined): string =>
  one
    ? `${one.memory.toFixed(0)} MB, ${one.files} files, ${ms(one.delay)}, ${one.database.toFixed(1)} MB`
    : ''

async function json<Answer>(url: string, method = 'GET', body?: object): Promise<Answer> {
  const response = await send(url, method, body)
  // A record that was let go meanwhile is no fault.
  if (!response.ok && response.status !== 404 && response.status !== 410) {
    throw new Error(`${method} ${url}: ${response.status} ${await response.text()}`)
  }
  return (await response.json()) as Answer
}
