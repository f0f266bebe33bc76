/** What the queue knows of the environment of generations: machine, disks, installation. */
import type { Check } from '../../domain/check.ts'
import type { Shortage } from '../../domain/disk.ts'
import type { Epoch, Failure, GpuId, JobId, Stage, Timestamp } from '../../domain/job.ts'

/** The circuit breaker before claims. See rules/environment-rules.ts. */
export type Environment = Readonly<{
  /** Standing checks that failed. */
  faults: readonly Check[]
  /** Checks that fail although a generation has got through. */
  disbelieved: readonly Check[]
  breaker: Breaker
  /** Jobs that failed again and again while others did well: how often that was seen. */
  suspects: ReadonlyMap<JobId, number>
}>

export type Breaker = Readonly<
  | { phase: 'closed' }
  /** Nothing is claimed until the pause has ended. */
  | ({ phase: 'open' } & Outage)
  /** One job at a time is claimed, as a probe. */
  | ({ phase: 'halfOpen'; probe?: Probe } & Outage)
>

/** Failures by the environment with no proof in between that it works again. */
export type Outage = Readonly<{
  since: Timestamp
  /** How often each job has failed in it. */
  failures: ReadonlyMap<JobId, number>
  /** Where they happened. */
  gpus: ReadonlySet<GpuId>
  last: Readonly<{ failure: Failure; gpu?: GpuId; at: Timestamp }>
  /** The furthest stage at which an attempt failed. A probe proves something by getting beyond it. */
  stage: Stage
  /** Numbers the pauses; each is twice as long as the one before. */
  pauses: number
}>

export type Probe = Readonly<{ jobId: JobId; epoch: Epoch }>

export const soundEnvironment: Environment = {
  faults: [],
  disbelieved: [],
  breaker: { phase: 'closed' },
  suspects: new Map(),
}

/** Why no job is claimed although GPUs may be free. */
export type Hold = Readonly<
  { reason: 'disk'; detail: string } | { reason: 'environment'; since?: Timestamp; detail: string }
>

/** A single failure, or a job that fails alone, is not yet called an outage. */
const minJobs = 2
const minPauses = 3

export function holdBy({ faults, breaker }: Environment): Hold | undefined {
  if (faults.length > 0) {
    const detail = faults.map(({ name, detail }) => `${name}: ${detail}`).join(' ')
    return { reason: 'environment', detail }
  }
  if (breaker.phase === 'closed') return undefined
  const { failures, pauses, since, last } = breaker
  if (failures.size < minJobs && pauses < minPauses) return undefined
  return { reason: 'environment', since, detail: last.failure.message }
}

/**
 * Without its script, Python or ffmpeg no generation leads to a video. What looks like an incomplete
 * checkpoint may be one of another layout, so that a probe decides.
 */
export const isCertain = ({ name }: Check): boolean => name !== 'checkpoint'

/** How many jobs may be claimed now. */
export function claimsAllowed({ faults, breaker }: Environment): 'any' | 'one' | 'none' {
  if (faults.some(isCertain) || breaker.phase === 'open') return 'none'
  if (breaker.phase === 'closed') return 'any'
  return breaker.probe ? 'none' : 'one'
}

/** How many failures in a row a probing job may have before a younger job takes its turn. */
export const turn = 3

/** The lowest number probes next; the oldest job among equals. */
export function probeRank({ breaker, suspects }: Environment, jobId: JobId): number {
  const failures = breaker.phase === 'closed' ? 0 : (breaker.failures.get(jobId) ?? 0)
  return Math.floor(failures / turn) + (suspects.get(jobId) ?? 0)
}

/** Why no job is claimed on a machine, whatever GPUs it has. */
export function holdOfPlace({
  hasRoom,
  shortage,
  environment,
}: Readonly<{
  hasRoom: boolean
  shortage?: Shortage | undefined
  environment: Environment
}>): Hold | undefined {
  return hasRoom ? holdBy(environment) : { reason: 'disk', detail: howToMakeRoom(shortage) }
}

export const howToMakeRoom = (shortage: Shortage | undefined): string =>
  shortage === 'files'
    ? 'A disk has too few free inodes: delete files there, for example old jobs with POST /admin/purge.'
    : 'There is less room on a disk than MIN_FREE_DISK_MB: make some.'
