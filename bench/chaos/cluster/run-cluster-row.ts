import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { JobJson } from '../../../src/http/views/job-view.ts'
import { startPostgresServer } from '../../postgres.ts'
import { canMount, mountSmallDisk } from '../../small-disk.ts'
import { createClient } from '../client.ts'
import { createKiller, vanish } from '../killer.ts'
import { judge } from '../oracle.ts'
import { everythingOf, isTemplate, killEverythingOf } from '../processes.ts'
import { createRandom } from '../random.ts'
import { exitOf, leftFiles, type ResultFile, type Run, readResults, readRuns } from '../results.ts'
import {
  accepted,
  clearing,
  type RowOptions,
  type RowResult,
  said,
  settleMs,
  strikeAgain,
} from '../run-row.ts'
import { maxAttempts } from '../service.ts'
import { watchGenerations } from '../watch.ts'
import { type ClusterRowName, clusterRows, hasSmallDisk, hasSteppedClocks } from './cluster-rows.ts'
import type { ClusterWorld, Fault } from './cluster-world.ts'
import { clockSteps } from './node-strokes.ts'
import { type ChaosNode, clockOf, type Loss, setClock, startNodes } from './nodes.ts'
import { smallDisk, smallSettings } from './postgres-strokes.ts'
import { type Gap, isLiving, probe } from './prober.ts'

/** Gaps longer than this are told with the faults that came shortly before and in them. */
const longGapMs = 5_000
const beforeGapMs = 5_000

/** A machine that was powered off, and what it was at work on. */
type PowerOff = Readonly<{ node: string; at: number; attempts: readonly string[] }>

type StoredAttempt = Readonly<{
  job_id: string
  epoch: number
  outcome: string | null
  /** JSON. */
  failure: string | null
}>

/** Kills at random among several nodes, lets everything finish, and judges. */
export async function runClusterRow(
  row: ClusterRowName,
  options: RowOptions & { nodes: number; earlier?: string | undefined },
): Promise<RowResult> {
  const { nodes: count, gpus, seed, cancels, keep, say, earlier } = options
  const startedAt = Date.now()
  const root = mkdtempSync(join(tmpdir(), 'wan-chaos-'))
  using disk = hasSmallDisk(row) && canMount ? mountSmallDisk(smallDisk) : undefined
  await using postgres = await startPostgresServer(
    disk && { under: disk.path, more: smallSettings },
  )
  const fleet = await startNodes(root, { count, gpus, postgres }, (dataDir, index) => {
    if (!hasSteppedClocks(row)) return {}
    setClock({ dataDir }, clockSteps[index % clockSteps.length] ?? 0)
    return { STEPPED_CLOCK: clockOf(dataDir) }
  })
  const { nodes } = fleet
  const watch = watchGenerations(root)
  const prober = probe(nodes)
  const killer = createKiller((attempt) =>
    nodes.map(({ dataDir }) => exitOf(dataDir, attempt)).find(Boolean),
  )
  const clear = () => {
    clearing.delete(clear)
    watch.stop()
    prober.stop()
    for (const { service, close } of nodes) {
      service.abandon()
      close()
    }
    killEverythingOf(root)
    if (!keep) rmSync(root, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
  }
  clearing.add(clear)

  try {
    const clientRandom = createRandom(seed, `${row} client`)
    const any = { url: () => clientRandom.pick(nodes.filter(isLiving))?.service.url() }
    const client = createClient(any, {
      random: clientRandom,
      waiting: count * gpus + 2,
      cancels,
      repeats: 0.05,
      insists: true,
      // All nodes share the cores of one machine.
      pollMs: 250,
    })
    const random = createRandom(seed, row)
    const powerOffs: PowerOff[] = []
    const onPowerOff = ({ name, devices }: ChaosNode) => {
      const ours = new Set(runsOn(readRuns(root), devices).map(({ attempt }) => attempt))
      const there = watch.look().generations.map(({ attempt }) => attempt)
      const attempts = there.filter((attempt) => ours.has(attempt))
      powerOffs.push({ node: name, at: Date.now(), attempts })
    }
    const faults: Fault[] = []
    const world: ClusterWorld = {
      ...{ root, random, fleet, postgres, disk, earlier, onPowerOff },
      kill: killer.kill,
      struck: new Set(),
      faults,
    }
    const strike = () => clusterRows[row](world)
    const kills = await strikeAgain(options, random, strike, () => accepted(client).length)
    const killsPerSecond = (kills * 1000) / (Date.now() - startedAt)
    say('letting everything finish')
    prober.stop()
    explainGaps(prober.gaps, faults, say)
    for (const { service } of nodes) await service.listening()
    await client.close()
    await client.settled(settleMs)
    await killer.settled()
    // One more start of each: what was left over is to be removed by then, and nothing may be changed.
    for (const { service } of nodes) {
      await service.stop()
      await service.listening()
    }
    await client.settled(settleMs)
    const jobs = await client.all()
    const left = () => nodes.flatMap(({ dataDir }) => leftFiles(dataDir))
    await vanish(left)
    for (const { service } of nodes) await service.stop({ forGood: true })
    const leftProcesses = await vanish(() => everythingOf(root))
    watch.stop()

    say('looking at every file')
    const runs = readRuns(root)
    const attempts = await postgres.query<StoredAttempt>(
      fleet.database,
      'select job_id, epoch, outcome, failure from attempt',
    )
    const begun = new Set(runs.map(({ attempt }) => attempt))
    const claimed = attempts.map(({ job_id, epoch }) => `${job_id}/${epoch}`)
    const { files, stranded } = await readAllResults(jobs)
    const doubles = [...client.doubles, ...recordedTwice(attempts)]
    const findings = judge({
      gpus: count * gpus,
      frames: 5,
      maxAttempts,
      orders: client.orders,
      runs,
      jobs,
      flips: client.flips,
      doubles,
      files,
      lastAlive: watch.lastAlive,
      together: watch.together,
      excused: new Set([...killer.excused, ...lostWithNode(runs)]),
      overtaken: overtaken(runs, attempts),
      // A job of a lost node returns to its place, and may wait for that while others go first.
      struck: new Set([...killer.struck, ...claimed.filter((attempt) => !begun.has(attempt))]),
      leftProcesses: said(leftProcesses.filter((one) => !isTemplate(one))),
      templates: [...watch.crowded, ...said(leftProcesses.filter(isTemplate))],
      leftFiles: left(),
      problems: nodes.flatMap(({ name, service }) =>
        service.problems.map((problem) => `${name}: ${problem}`),
      ),
    })
    return {
      ...{ row, kills, killsPerSecond, findings },
      jobs: accepted(client).length,
      seen: watch.lastAlive.size,
      warm: watch.warm.size,
      seconds: (Date.now() - startedAt) / 1000,
      figures: {
        'ran to the end twice': String(ranTwice(runs)),
        'longest without a leader, s': seconds(prober.gaps.map(({ from, to }) => to - from)),
        'loss to new claim, s': seconds(claimsElsewhere(powerOffs, runs)),
        'videos left on lost nodes': String(stranded),
        'nodes lost': String(fleet.losses.length),
        'processes deposed': String(fleet.depositions()),
        'refused with 507': String(client.fullDisks()),
        kinds: countKinds(faults),
      },
      ...(keep && { kept: root }),
    }
  } finally {
    clear()
  }

  /** A video that nobody recorded stays on a node that was lost: its job runs elsewhere. */
  async function readAllResults(jobs: readonly JobJson[]) {
    const filenames = new Map(jobs.map(({ id, filename }) => [String(id), filename]))
    const files: ResultFile[] = []
    let stranded = 0
    for (const { name, dataDir } of nodes) {
      const wasLost = fleet.losses.some(({ node }) => node === name)
      for (const file of await readResults(dataDir)) {
        if (wasLost && filenames.get(file.jobId ?? '') !== file.name) stranded++
        else files.push(file)
      }
    }
    return { files, stranded }
  }

  /** Nobody knows how far a generation has come whose node is lost, so its job runs again. */
  function lostWithNode(runs: readonly Run[]): string[] {
    const isLost = ({ gpu, start }: Run) =>
      fleet.losses.some(({ node, at }: Loss) => fleet.nodeOf(gpu)?.name === node && start < at)
    return runs.filter(isLost).map(({ attempt }) => attempt)
  }

  /** A node that stands still between a claim and the start of its process starts it when it goes on. */
  function overtaken(runs: readonly Run[], attempts: readonly StoredAttempt[]): Set<string> {
    const givenUp = new Set(
      attempts.flatMap(({ job_id, epoch, outcome, failure }) =>
        outcome === 'released' || failure?.includes('"node_lost"') ? `${job_id}/${epoch}` : [],
      ),
    )
    const isLate = ({ gpu, start, attempt }: Run) =>
      givenUp.has(attempt) &&
      fleet.losses.some(({ node, at }: Loss) => fleet.nodeOf(gpu)?.name === node && at < start)
    return new Set(runs.filter(isLate).map(({ attempt }) => attempt))
  }

  /** From power-off to the start of the next generation of the same job on another machine. */
  function claimsElsewhere(powerOffs: readonly PowerOff[], runs: readonly Run[]): number[] {
    return powerOffs.flatMap(({ node, at, attempts }) =>
      attempts.flatMap((attempt) => {
        const next = runs
          .filter((run) => run.jobId === attempt.split('/')[0] && run.start > at)
          .toSorted((a, b) => a.start - b.start)[0]
        return next && fleet.nodeOf(next.gpu)?.name !== node ? [next.start - at] : []
      }),
    )
  }
}

function recordedTwice(attempts: readonly StoredAttempt[]): string[] {
  const successes = attempts.filter(({ outcome }) => outcome === 'success')
  return [...Map.groupBy(successes, ({ job_id }) => job_id)]
    .filter(([, { length }]) => length > 1)
    .map(([job, { length }]) => `${job} was recorded as a success ${length} times`)
}

function ranTwice(runs: readonly Run[]): number {
  const ended = runs.filter(({ end }) => end !== undefined)
  return [...Map.groupBy(ended, ({ jobId }) => jobId).values()].filter(({ length }) => length > 1)
    .length
}

const runsOn = (runs: readonly Run[], devices: readonly string[]): Run[] =>
  runs.filter(({ gpu }) => devices.includes(gpu))

const countKinds = (faults: readonly Fault[]): string =>
  [...Map.groupBy(faults, ({ kind }) => kind)]
    .map(([kind, { length }]) => `${kind} ${length}`)
    .join(', ')

function explainGaps(
  gaps: readonly Gap[],
  faults: readonly Fault[],
  say: (text: string) => void,
): void {
  for (const gap of gaps.filter(({ from, to }) => to - from > longGapMs)) {
    const at = (time: number) => ((time - gap.from) / 1000).toFixed(1)
    const near = faults
      .filter(({ from, to }) => to > gap.from - beforeGapMs && from < gap.to)
      .map(({ kind, target, from, to }) => `${kind} of ${target} ${at(from)} to ${at(to)}`)
    say(`no leader for ${at(gap.to)} s: ${near.join('; ')}`)
  }
}

/** Median, 99th percentile and longest. */
function seconds(times: readonly number[]): string {
  if (times.length === 0) return '–'
  const sorted = times.toSorted((a, b) => a - b)
  const at = (share: number) =>
    ((sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0) / 1000).toFixed(
      1,
    )
  return `${at(0.5)} / ${at(0.99)} / ${at(1)}`
}
