/** What those who look on are told of: it has happened for good, and nobody waits for their answer. */

import type { Disk } from './disk.ts'
import type { Checkpoint } from './estimate.ts'
import type { GpuSpell } from './gpu-work.ts'
import type { Hold } from './hold.ts'
import type { FailureCode, GpuId, JobId, Quarantine, Stage, Timestamp } from './job.ts'

export type Observation = Readonly<
  | { saw: 'jobSubmitted' }
  /** For the first time. */
  | { saw: 'jobClaimed'; waitedMs: number }
  /** Back in the queue; without a code it was given back, and its attempt does not count. */
  | { saw: 'jobRequeued'; code?: FailureCode }
  | { saw: 'stagePassed'; stage: Stage; tookMs: number }
  /** While it ran. */
  | { saw: 'cancelRequested'; jobId: JobId; at: Timestamp }
  | { saw: 'jobEnded'; jobId: JobId; end: JobEnd; submittedAt: Timestamp; at: Timestamp }
  /** The work of GPUs, after their work before. `rest`: whether other GPUs go on, or are gone. */
  | { saw: 'gpuWork'; gpus: ReadonlyMap<GpuId, readonly GpuSpell[]>; rest: 'same' | 'gone' }
  | { saw: 'gpuQuarantined'; gpu: GpuId; reason: Quarantine['reason'] }
  /** Its actor was told to go on with what a former life had begun. */
  | { saw: 'generationAdopted'; gpu: GpuId }
  /** A part of the launcher left its work to the script, which is not as the launcher knows it. */
  | { saw: 'launcherFellBack'; part: LaunchedPart }
  /** The numbers of a prompt: kept from an earlier generation, or made by the text encoder. */
  | { saw: 'promptEncoded'; source: EmbeddingSource }
  | { saw: 'templateLoaded'; tookMs: number }
  /** Generations are forked from it from now on. */
  | { saw: 'templateUsed' }
  | { saw: 'templateEnded'; end: TemplateEnd }
  /** `fallback`: it was to be forked from a template, and could not. `standby`: it was forked ahead of time. */
  | { saw: 'generationStarted'; start: StartKind; standby?: true }
  | { saw: 'committed'; operations: number; tookMs: number }
  | { saw: 'commitFailed' }
  /** `offBy`: the share of the time that was left then; below 0, it was over sooner than told. */
  | { saw: 'estimateJudged'; checkpoint: Checkpoint; offBy: number; interval: IntervalVerdict }
  | { saw: 'deliveryAttempted'; became: 'delivered' | 'pending' | 'failed' }
  | { saw: 'disksMeasured'; disks: readonly Disk[] }
  /** Whether jobs, logs and backups are deleted by age now. */
  | { saw: 'deletionsJudged'; hold: Hold | undefined }
  | { saw: 'requestAnswered'; method: string; route: string; status: number; tookMs: number }
  | { saw: 'eventStreamOpened' | 'eventStreamClosed' }
  | { saw: 'connectionOpened' | 'connectionClosed' }
  | { saw: 'connectionCut'; reason: CutReason }
>

/**
 * Why the service closed a connection. `stalled`: its peer took no bytes for too long. `over_budget`: too many bytes
 * waited for slow peers. `evicted`: it made room for a new one. `refused`: there was no room for it.
 */
export const cutReasons = ['stalled', 'over_budget', 'evicted', 'refused'] as const
export type CutReason = (typeof cutReasons)[number]

/** What the launcher of a generation does beside running the script. */
export const launchedParts = ['progress', 'fast_load', 'embedding_cache'] as const
export type LaunchedPart = (typeof launchedParts)[number]
export const embeddingSources = ['cache', 'encoder'] as const
export type EmbeddingSource = (typeof embeddingSources)[number]

export const startKinds = ['warm', 'cold', 'fallback'] as const
export type StartKind = (typeof startKinds)[number]

/** Why a template is there no more, or never was. */
export const templateEnds = [
  'not_loaded',
  'died',
  'out_of_date',
  'probe_failed',
  'fork_failed',
  'dropped',
  'reloaded',
] as const
export type TemplateEnd = (typeof templateEnds)[number]

export type JobEnd = Readonly<
  { status: 'success' | 'canceled' } | { status: 'error'; code: FailureCode }
>

/** Where the outcome was: before what was told as p10, after p90, or between the two. */
export type IntervalVerdict = 'early' | 'within' | 'late'

export type Observe = (observation: Observation) => void
