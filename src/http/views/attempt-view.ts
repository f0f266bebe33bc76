/** How the attempts of a job look from outside, and how each failed. */
import * as v from 'valibot'
import type { JobDetail } from '../../actors/archive/archive-protocol.ts'
import { type Attempt, failureCodes, stages } from '../../domain/job.ts'
import { stageSpans } from '../../domain/stage-spans.ts'
import { NodeNameJson, type NodeOf } from './node-view.ts'
import { Count, iso, isoTime, StartKind, Time } from './words.ts'

export const FailureJson = v.object({
  code: v.picklist(failureCodes),
  message: v.string(),
  exit_code: v.nullable(v.number()),
  signal: v.nullable(v.string()),
})

export const AttemptJson = v.object({
  attempt: Count,
  epoch: Count,
  gpu_id: Count,
  node: v.nullable(NodeNameJson),
  outcome: v.nullable(v.picklist(['success', 'error', 'canceled', 'released'])),
  error: v.nullable(FailureJson),
  claimed_at: Time,
  started_at: v.nullable(Time),
  generated_at: v.nullable(Time),
  ended_at: v.nullable(Time),
  start: v.nullable(StartKind),
  stages: v.array(
    v.object({ stage: v.picklist(stages), began_at: Time, seconds: v.nullable(v.number()) }),
  ),
  seconds_per_step: v.nullable(v.number()),
  peak_vram_bytes: v.nullable(v.number()),
  command: v.nullable(
    v.pipe(
      v.array(v.string()),
      v.description('how `generate.py` was called for it, an item per argument'),
    ),
  ),
})
export type AttemptJson = v.InferOutput<typeof AttemptJson>

export const attemptsOf = ({ attempts, reading }: JobDetail, nodeOf: NodeOf): AttemptJson[] =>
  attempts.map((attempt) =>
    // What it is heard to do is written down when it ends.
    attemptJson(attempt.outcome || !reading ? attempt : { ...attempt, trace: reading }, nodeOf),
  )

const attemptJson = (
  { number, epoch, gpu, outcome, failure, trace, start, command, ...times }: Attempt,
  nodeOf: NodeOf,
): AttemptJson => ({
  attempt: number,
  epoch,
  gpu_id: gpu,
  node: nodeOf(gpu) ?? null,
  outcome: outcome ?? null,
  error: failure ? failureJson(failure) : null,
  claimed_at: isoTime(times.claimedAt),
  started_at: iso(times.startedAt),
  generated_at: iso(times.generatedAt),
  ended_at: iso(times.endedAt),
  start: start ?? null,
  stages: stagesJson({ trace, ...times }),
  seconds_per_step: trace?.secondsPerStep ?? null,
  peak_vram_bytes: trace?.peakVramBytes ?? null,
  command: command ? [...command] : null,
})

const stagesJson = (times: Parameters<typeof stageSpans>[0]) =>
  stageSpans(times).map(({ stage, at, until }) => ({
    stage,
    began_at: isoTime(at),
    seconds: until === undefined ? null : Math.max(0, until - at) / 1000,
  }))

export const failureJson = ({
  code,
  message,
  exitCode,
  signal,
}: NonNullable<Attempt['failure']>) => ({
  code,
  message,
  exit_code: exitCode ?? null,
  signal: signal ?? null,
})
