/** Judges a row by what is certain: the journal of the generations, the files, the kernel. */
import type { JobJson } from '../../src/http/views/job-view.ts'
import { isOver, type Order } from './client.ts'
import type { ResultFile, Run } from './results.ts'
import { pairOf } from './watch.ts'

export type Evidence = Readonly<{
  gpus: number
  frames: number
  maxAttempts: number
  orders: readonly Order[]
  runs: readonly Run[]
  /** What the API says in the end. */
  jobs: readonly JobJson[]
  flips: Iterable<string>
  /** Orders that were sent again with the same key and made another job. */
  doubles: Iterable<string>
  files: readonly ResultFile[]
  /** The last moment at which the generation of an attempt was certainly there. */
  lastAlive: ReadonlyMap<string, number>
  /** Attempts that were seen on one GPU at one moment. */
  together: Iterable<string>
  /** Attempts that were killed before their success was on disk: nobody could know of it. */
  excused: ReadonlySet<string>
  /** Attempts that were taken from a lost node, and whose start that node could not know to be void. */
  overtaken?: ReadonlySet<string>
  /** Attempts of which the generation or the shim was killed. */
  struck: ReadonlySet<string>
  /** A standby was killed that may have become the shim of an attempt, unseen: it counts as struck. */
  killsUnseen?: boolean
  leftProcesses: readonly string[]
  /** Templates without a service, and more than one of a service. */
  templates: Iterable<string>
  leftFiles: readonly string[]
  problems: readonly string[]
}>

export const columns = [
  'lost',
  'done twice',
  'two on one GPU',
  'strays',
  'templates left',
  'order broken',
  'wrong final state',
  'left files',
  'crashed',
] as const
export type Column = (typeof columns)[number]

/** Each finding is a sentence; a service without bugs has none. */
export type Findings = Readonly<Record<Column, readonly string[]>>

export function judge(evidence: Evidence): Findings {
  const { leftProcesses, leftFiles, problems } = evidence
  return {
    lost: lost(evidence),
    'done twice': doneTwice(evidence),
    'two on one GPU': twoOnOneGpu(evidence),
    strays: leftProcesses,
    'templates left': [...evidence.templates],
    'order broken': orderBroken(evidence),
    'wrong final state': wrongFinalState(evidence),
    'left files': leftFiles,
    crashed: problems,
  }
}

/** Accepted with a 202, and then forgotten, never ended, or called a success without its file. */
function lost({ orders, jobs, files }: Evidence): string[] {
  const known = byId(jobs)
  return orders.flatMap(({ id, prompt }) => {
    if (!id) return []
    const job = known.get(id)
    if (!job) return [`${prompt} (${id}) is unknown`]
    if (!isOver(job.status)) return [`${prompt} (${id}) is still ${job.status}`]
    if (job.status !== 'success') return []
    return files.some(({ name, jobId }) => name === job.filename && jobId === id)
      ? []
      : [`${prompt} (${id}) is a success without its file`]
  })
}

/**
 * A generation that came to its end must never be run again, whatever becomes of its conversion.
 * Except when it, or its shim, was killed before its exit was on disk with code 0: then its end is
 * known to this journal alone.
 */
function doneTwice({ runs, excused, overtaken, doubles }: Evidence): string[] {
  const finished = runs.flatMap(({ jobId, attempt, end }) => {
    if (end === undefined || excused.has(attempt)) return []
    const again = runs.find(
      (other) => other.jobId === jobId && other.start > end && !overtaken?.has(other.attempt),
    )
    return again ? [`${attempt} had come to its end, and then ${again.attempt} was started`] : []
  })
  return [...doubles, ...finished]
}

/**
 * A generation has its GPU from its `start` to the last moment at which it was certainly there:
 * its `end`, or when it was last seen in /proc, whichever is later. The end of a killed generation
 * is not written down; but it is looked for in /proc every few hundredths of a second, and right
 * before each kill, so this comes close. It never exceeds the true end: an overlap is a proof.
 */
function twoOnOneGpu({ runs, lastAlive, together }: Evidence): string[] {
  const pairs = new Set(together)
  const latest = new Map<string, Run & { until: number }>()
  for (const run of runs.toSorted((a, b) => a.start - b.start)) {
    const until = Math.max(run.start, run.end ?? 0, lastAlive.get(run.attempt) ?? 0)
    const other = latest.get(run.gpu)
    if (other && run.start < other.until) pairs.add(pairOf(run.attempt, other.attempt))
    if (!other || until > other.until) latest.set(run.gpu, { ...run, until })
  }
  return [...pairs].map((pair) => `${pair} were on one GPU at the same time`)
}

/**
 * When a job is started for the first time, each earlier one must have been started before, or sit
 * on another GPU where its generation has yet to write its `start`. So fewer of them than there are
 * GPUs may be missing. Not counted is a job that somebody tried to cancel; one of which an attempt
 * was killed before its `start`, for it may wait for another GPU while others go first; and one
 * that was never started at all, which shows elsewhere.
 */
function orderBroken({ gpus, orders, jobs, runs, struck, killsUnseen }: Evidence): string[] {
  const idOf = new Map(jobs.map(({ prompt, id }) => [prompt, String(id)]))
  const begun = new Set(runs.map(({ attempt }) => attempt))
  const heldUp = new Set(
    [...struck].filter((attempt) => !begun.has(attempt)).map((attempt) => attempt.split('/')[0]),
  )
  if (killsUnseen) {
    for (const { id, attempt } of jobs) {
      const started = runs.filter(({ jobId }) => jobId === id).length
      if (attempt > started) heldUp.add(String(id))
    }
  }
  const first = new Map<string, number>()
  for (const { jobId, start } of runs) {
    first.set(jobId, Math.min(start, first.get(jobId) ?? start))
  }
  const starts = orders.flatMap(({ prompt, number, cancel }) => {
    const id = idOf.get(prompt)
    const at = id && first.get(id)
    return at && !cancel && !heldUp.has(id) ? [{ number, at }] : []
  })
  const missing = new Set(starts.map(({ number }) => number))
  const findings: string[] = []
  for (const { number } of starts.toSorted((a, b) => a.at - b.at)) {
    missing.delete(number)
    const earlier: number[] = []
    for (const other of missing) {
      // In the order in which they were submitted.
      if (other > number) break
      earlier.push(other)
    }
    if (earlier.length >= gpus) {
      findings.push(`chaos ${number} was started before ${earlier.join(', ')}`)
    }
  }
  return findings
}

function wrongFinalState(evidence: Evidence): string[] {
  const { orders, jobs, runs, files, flips, frames, maxAttempts } = evidence
  const known = byId(jobs)
  const cancels = new Map(orders.map(({ id, cancel }) => [id, cancel]))
  const ended = new Set(runs.filter(({ end }) => end !== undefined).map(({ jobId }) => jobId))
  return [...flips, ...jobs.flatMap(ofJob), ...files.flatMap(ofFile)]

  function ofJob({ id, status, attempt, error }: JobJson): string[] {
    const cancel = cancels.get(id)
    if (status === 'success' && !ended.has(id)) return [`${id} never came to an end: ${status}`]
    // The job was canceled, and its machine is lost.
    if (status === 'error' && error?.code === 'node_lost' && cancel && cancel !== 'refused')
      return []
    if (status === 'error' && attempt < maxAttempts) {
      return [`${id} was given up after ${attempt} attempts: ${error?.code}: ${error?.message}`]
    }
    if (status === 'canceled' && (!cancel || cancel === 'refused')) {
      return [`${id} is canceled, for which nobody asked`]
    }
    if (status !== 'canceled' && cancel === 'promised') {
      return [`${id} was canceled and is ${status}`]
    }
    return []
  }

  function ofFile({ name, jobId, frames: found, fault }: ResultFile): string[] {
    const job = known.get(jobId ?? '')
    if (fault) return [`${name} is broken: ${fault}`]
    if (found !== frames) return [`${name} has ${found} frames`]
    if (job?.status !== 'success') return [`${name} belongs to ${jobId}, which is ${job?.status}`]
    return job.filename === name ? [] : [`${name} is a second file of ${jobId}`]
  }
}

const byId = (jobs: readonly JobJson[]) => new Map(jobs.map((job) => [String(job.id), job]))
