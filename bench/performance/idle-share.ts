/** Share of its time in which a GPU computes nothing although jobs wait: between jobs, and while they load. */

import { aDirectory, removeDirectory } from '../service.ts'
import { median, ms, type Report } from './figures.ts'
import { allSucceed, submitAll } from './jobs.ts'
import { detailOf, launchWith, shortVideo } from './warm-service.ts'

const gpus = 5
const jobs = 50
const jobSeconds = 60
const loadSeconds = 10
const steps = 10

/** A job without its loading takes a minute. Then its GPU computes. */
const simulated = {
  SIM_SPEED: '1',
  SIM_LOAD: String(loadSeconds),
  SIM_ENCODE: '2',
  SIM_STEP: String((jobSeconds - 5) / steps),
  SIM_DECODE: '3',
}

type Share = Readonly<{ idle: number; gapMs: number; loadingMs: number }>

/** Both at once: a generation of the simulator mostly waits. */
export async function idleShare(say: (line: string) => void): Promise<Report> {
  const ways = ['on', 'off'] as const
  const shares = await Promise.all(ways.map((start) => measure(start, say)))
  const rows = shares.map(({ idle, gapMs, loadingMs }, index) => [
    `\`WARM_START=${ways[index]}\``,
    ms(gapMs),
    ms(loadingMs),
    `${(idle * 100).toFixed(2)} %`,
  ])
  return {
    how: `${jobs} jobs on ${gpus} GPUs, of ${jobSeconds} s each without their loading, which takes ${loadSeconds} s in a process that loads everything and a quarter of that with \`FAST_LOAD\`; without the first job of each GPU; medians of gap and loading`,
    tables: [{ head: ['GPU', 'gap', 'importing and loading', 'idle'], rows }],
  }
}

async function measure(start: 'on' | 'off', say: (line: string) => void): Promise<Share> {
  const directory = aDirectory()
  const ids = Array.from({ length: gpus }, (_, gpu) => gpu).join(',')
  const { service, url } = await launchWith(start, directory, { GPU_IDS: ids, ...simulated })
  const bodies = Array.from({ length: jobs }, (_, n) => ({
    ...{ ...shortVideo, steps, prompt: `job ${n}` },
  }))
  const submitted = await submitAll(url, bodies)
  await allSucceed(service, submitted)
  const runs = await Promise.all(submitted.map((id) => runOf(url, id)))
  await service.stop()
  removeDirectory(directory)
  const share = shareOf(runs)
  say(`WARM_START=${start}: ${(share.idle * 100).toFixed(2)} % of the time idle`)
  return share
}

type Run = Readonly<{ gpu: number; began: number; ended: number; loadingMs: number }>

async function runOf(url: string, id: string): Promise<Run> {
  const [attempt, ...others] = (await detailOf(url, id)).attempts
  const computing = attempt?.stages[1]
  if (!attempt?.started_at || !attempt.generated_at || !computing || others.length > 0) {
    throw new Error(`job ${id} did not run as it should: ${JSON.stringify(attempt)}`)
  }
  const began = Date.parse(attempt.started_at)
  return {
    gpu: attempt.gpu_id,
    began,
    ended: Date.parse(attempt.generated_at),
    loadingMs: Date.parse(computing.began_at) - began,
  }
}

function shareOf(runs: readonly Run[]): Share {
  const gaps: number[] = []
  const loads: number[] = []
  let wall = 0
  for (const ofGpu of Map.groupBy(runs, ({ gpu }) => gpu).values()) {
    const sorted = ofGpu.toSorted((one, other) => one.began - other.began)
    for (const [index, { began, ended, loadingMs }] of sorted.entries()) {
      const before = sorted[index - 1]
      if (!before) continue
      gaps.push(began - before.ended)
      loads.push(loadingMs)
      wall += ended - before.ended
    }
  }
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)
  return {
    idle: (sum(gaps) + sum(loads)) / wall,
    gapMs: median(gaps),
    loadingMs: median(loads),
  }
}
