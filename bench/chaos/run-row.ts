import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { startPostgresServer } from '../postgres.ts'
import { type Client, createClient } from './client.ts'
import { createKiller, vanish } from './killer.ts'
import { type Findings, judge } from './oracle.ts'
import { everythingOf, isTemplate, killEverythingOf } from './processes.ts'
import { createRandom, type Random } from './random.ts'
import { exitOf, leftFiles, readResults, readRuns } from './results.ts'
import { environmentOfRow, needsPostgres, type RowName, rows } from './rows.ts'
import { keepService, maxAttempts } from './service.ts'
import type { World } from './strokes.ts'
import { watchGenerations } from './watch.ts'

export type RowOptions = Readonly<{
  kills: number
  /** Goes on killing until so many jobs have been accepted. */
  jobs: number
  /** Kills that are under way at the same time, at different nodes. */
  atOnce?: number
  /** The longest that everybody is left in peace before a kill, in milliseconds. */
  pauseMs: number
  seed: number
  gpus: number
  /** When to stop killing, whatever has been reached by then. */
  until: number
  /** Share of the jobs that somebody tries to cancel. */
  cancels: number
  /** Jobs are stored in PostgreSQL in every row. */
  onPostgres: boolean
  /** Keep the data directory, for a look at what happened. */
  keep: boolean
  say(progress: string): void
}>

export type RowResult = Readonly<{
  row: string
  kills: number
  jobs: number
  /** Generations that were seen, and those of them that were forked from a template. */
  seen: number
  warm: number
  /** All in all; the rate is that of the time of killing alone. */
  seconds: number
  killsPerSecond: number
  findings: Findings
  /** Figures that are no faults, by name. */
  figures?: Readonly<Record<string, string>>
  kept?: string
}>

/** Twice as long as anything that is left to do should take. */
export const settleMs = 60_000
const progressMs = 5_000
const peaceMs = 10_000

/** Rows that are under way, for whoever has to end early. */
export const clearing = new Set<() => void>()

/** Ends at once whatever the rows under way have started, and removes what they wrote. */
export function clearAway(): void {
  for (const clear of clearing) clear()
}

/** Kills at random, lets everything finish, and judges. */
export async function runRow(row: RowName, options: RowOptions): Promise<RowResult> {
  const { gpus, seed, cancels, onPostgres, keep, say } = options
  const startedAt = Date.now()
  const dataDir = mkdtempSync(join(tmpdir(), 'wan-chaos-'))
  await using postgres = onPostgres || needsPostgres(row) ? await startPostgresServer() : undefined
  const service = keepService(dataDir, gpus, {
    ...environmentOfRow(row, dataDir),
    ...(postgres && {
      DATABASE_URL: await postgres.createDatabase(),
      NODE_URL: 'http://127.0.0.1:0',
    }),
  })
  const watch = watchGenerations(dataDir)
  const killer = createKiller((attempt) => exitOf(dataDir, attempt))
  const clear = () => {
    clearing.delete(clear)
    watch.stop()
    service.abandon()
    killEverythingOf(dataDir)
    if (!keep) rmSync(dataDir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
  }
  clearing.add(clear)

  try {
    const client = createClient(service, {
      random: createRandom(seed, `${row} client`),
      waiting: gpus + 2,
      cancels,
      repeats: row === 'clock' ? 0.3 : 0,
    })
    const random = createRandom(seed, row)
    const world: World = {
      dataDir,
      gpus,
      random,
      service,
      postgres,
      look: watch.look,
      kill: killer.kill,
    }
    const strike = () => rows[row](world)
    const kills = await strikeAgain(options, random, strike, () => accepted(client).length)
    const killsPerSecond = (kills * 1000) / (Date.now() - startedAt)
    say('letting everything finish')
    await client.close()
    await client.settled(settleMs)
    await killer.settled()
    // One more start: what was left over is to be removed by then, and nothing may be changed.
    await client.all()
    await service.stop()
    await service.listening()
    await client.settled(settleMs)
    const jobs = await client.all()
    await vanish(() => leftFiles(dataDir))
    await service.stop({ forGood: true })
    const leftProcesses = await vanish(() => everythingOf(dataDir))
    watch.stop()

    say('looking at every file')
    const findings = judge({
      gpus,
      frames: 5,
      maxAttempts,
      orders: client.orders,
      runs: readRuns(dataDir),
      jobs,
      flips: client.flips,
      doubles: client.doubles,
      files: await readResults(dataDir),
      lastAlive: watch.lastAlive,
      together: watch.together,
      excused: killer.excused,
      struck: killer.struck,
      killsUnseen: row === 'standby',
      leftProcesses: said(leftProcesses.filter((one) => !isTemplate(one))),
      templates: [...watch.crowded, ...said(leftProcesses.filter(isTemplate))],
      leftFiles: leftFiles(dataDir),
      problems: service.problems,
    })
    const seconds = (Date.now() - startedAt) / 1000
    return {
      row,
      kills,
      jobs: accepted(client).length,
      seen: watch.lastAlive.size,
      warm: watch.warm.size,
      seconds,
      killsPerSecond,
      findings,
      ...(keep && { kept: dataDir }),
    }
  } finally {
    clear()
  }
}

/** Strikes at random moments as often as was asked for. */
export async function strikeAgain(
  options: RowOptions,
  random: Random,
  strike: () => Promise<boolean>,
  jobs: () => number,
): Promise<number> {
  let kills = 0
  let saidAt = Date.now()
  await Promise.all(Array.from({ length: options.atOnce ?? 1 }, strikeOn))
  return kills

  async function strikeOn(): Promise<void> {
    while ((kills < options.kills || jobs() < options.jobs) && Date.now() < options.until) {
      await delay(random.between(0, options.pauseMs))
      await jobsKeepUp(options, kills, jobs)
      if (await strike()) kills++
      if (Date.now() - saidAt < progressMs) continue
      saidAt = Date.now()
      options.say(`${kills} of ${options.kills} kills, ${jobs()} jobs`)
    }
  }
}

/** Where jobs are asked for, they get time enough to come with the kills rather than after them. */
async function jobsKeepUp(options: RowOptions, kills: number, jobs: () => number): Promise<void> {
  const due = Math.min(options.jobs, (kills * options.jobs) / Math.max(1, options.kills))
  const giveUpAt = Math.min(options.until, Date.now() + peaceMs)
  while (jobs() < due && Date.now() < giveUpAt) await delay(50)
}

export const said = (processes: readonly { pid: number; what: string }[]): string[] =>
  processes.map(({ pid, what }) => `${pid}: ${what}`)

export const accepted = ({ orders }: Client) => orders.filter(({ id }) => id)
