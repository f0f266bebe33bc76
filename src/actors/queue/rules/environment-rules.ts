/**
 * A circuit breaker. A failure by the environment costs the job no attempt: the job returns to its
 * place, and nothing is claimed for a pause. Then one job probes. When it gets beyond the stage at
 * which others failed, the environment works and all GPUs are used again; otherwise the next pause is
 * twice as long. Failed standing checks (no script, no Python, no ffmpeg) hold claims by themselves.
 *
 * Failures of several jobs in a row speak against the environment, and no job ends because of them. A
 * job that keeps failing while others get through, or that fails alone, is at fault itself.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Check } from '../../../domain/check.ts'
import {
  type AttemptKey,
  type Failure,
  type GpuId,
  type JobId,
  type Stage,
  stages,
  type Timestamp,
} from '../../../domain/job.ts'
import {
  type Breaker,
  type Environment,
  isCertain,
  type Outage,
  type Probe,
  turn,
} from '../environment-state.ts'

/** The longest pause: a probe costs an attempt's start, and GPUs should not idle for long afterwards. */
const maxPauseMs = 60_000
const firstPauseMs = 1_000

/** How often a job may fail when no other job fails or waits: for about five minutes of pauses. */
export const maxAlone = 10

/** How often others may get through after a job has failed before it is at fault itself. */
export const maxSuspicions = 5

export type FailedAttempt = AttemptKey & Readonly<{ gpu: GpuId; stage: Stage; failure: Failure }>

export type Verdict = Readonly<{
  environment: Environment
  /** `giveUp`: the job itself is at fault. */
  fate: 'waits' | 'giveUp'
  /** A pause that has just begun. */
  pause?: Readonly<{ number: number; ms: number }>
}>

/** `isAlone`: no other job waits that could probe instead. */
export function failedByEnvironment(
  environment: Environment,
  { jobId, epoch, gpu, stage, failure }: FailedAttempt,
  { isAlone }: Readonly<{ isAlone: boolean }>,
  at: Timestamp,
): Verdict {
  const { breaker, suspects } = environment
  const before = breaker.phase === 'closed' ? undefined : breaker
  const count = (before?.failures.get(jobId) ?? 0) + 1
  const failures = new Map([...(before?.failures ?? []), [jobId, count]])
  const outage: Outage = {
    since: before?.since ?? at,
    failures,
    gpus: new Set([...(before?.gpus ?? []), gpu]),
    last: { failure, gpu, at },
    stage: before ? later(before.stage, stage) : stage,
    pauses: before?.pauses ?? 0,
  }
  const fate =
    (suspects.get(jobId) ?? 0) >= maxSuspicions ||
    (isAlone && environment.faults.length === 0 && failures.size === 1 && count >= maxAlone)
      ? 'giveUp'
      : 'waits'
  const isNews = breaker.phase === 'closed' || isProbe(breaker, { jobId, epoch })
  if (!isNews) return { environment: { ...environment, breaker: { ...breaker, ...outage } }, fate }
  const pauses = outage.pauses + 1
  return {
    environment: { ...environment, breaker: { phase: 'open', ...outage, pauses } },
    fate,
    pause: pauseOf(pauses),
  }
}

/** The next job probes. Pauses of an earlier outage are ignored. */
export function endPause(environment: Environment, number: number): Environment {
  const { breaker } = environment
  if (breaker.phase !== 'open' || breaker.pauses !== number) return environment
  return { ...environment, breaker: { ...breaker, phase: 'halfOpen' } }
}

export function startProbe(environment: Environment, { jobId, epoch }: AttemptKey): Environment {
  const { breaker } = environment
  if (breaker.phase !== 'halfOpen') return environment
  return { ...environment, breaker: { ...breaker, probe: { jobId, epoch } } }
}

/** An attempt has got to a stage, or to its end. Only a probe started after the last failure. */
export function gotTo(
  environment: Environment,
  attempt: AttemptKey,
  stage: Stage | 'end',
): Environment {
  const { breaker } = environment
  if (!isProbe(breaker, attempt)) return environment
  if (stage !== 'end' && rank(stage) <= rank(breaker.stage)) return environment
  const culprits = [...breaker.failures].filter(
    ([jobId, count]) =>
      // A job that had its turn as the probe is suspect even if others failed as well.
      jobId !== attempt.jobId && (breaker.failures.size === 1 || count >= turn),
  )
  const suspects = new Map(environment.suspects)
  for (const [jobId] of culprits) suspects.set(jobId, (suspects.get(jobId) ?? 0) + 1)
  suspects.delete(attempt.jobId)
  // It got through although they fail.
  const disbelieved = [...environment.disbelieved, ...environment.faults]
  return { ...environment, faults: [], disbelieved, breaker: closed, suspects }
}

/** An attempt has ended without saying anything about the environment: another job may probe. */
export function attemptOver(environment: Environment, attempt: AttemptKey): Environment {
  const { breaker } = environment
  if (!isProbe(breaker, attempt)) return environment
  const { probe: _, ...idle } = breaker
  return { ...environment, breaker: idle }
}

export function forgetSuspect(environment: Environment, jobId: JobId): Environment {
  if (!environment.suspects.has(jobId)) return environment
  const suspects = new Map(environment.suspects)
  suspects.delete(jobId)
  return { ...environment, suspects }
}

/**
 * Checks that succeed again explain the failures before, so claims go on without a probe. A check that
 * may be wrong opens the breaker like a failure of a job.
 */
export function seeChecks(
  environment: Environment,
  checks: readonly Check[],
  at: Timestamp,
): Pick<Verdict, 'environment' | 'pause'> {
  const failed = checks.filter(({ ok }) => !ok)
  const names = new Set(environment.disbelieved.map(({ name }) => name))
  const disbelieved = failed.filter(({ name }) => names.has(name))
  const faults = failed.filter(({ name }) => !names.has(name))
  const isSame = isDeepStrictEqual(disbelieved, environment.disbelieved)
  if (isSame && isDeepStrictEqual(faults, environment.faults)) return { environment }
  const { breaker } = environment
  if (faults.length === 0) {
    const isWellAgain = environment.faults.length > 0
    return {
      environment: { ...environment, faults, disbelieved, ...(isWellAgain && { breaker: closed }) },
    }
  }
  const next = { ...environment, faults, disbelieved }
  const [doubtful] = faults.filter((fault) => !isCertain(fault))
  if (!doubtful || breaker.phase !== 'closed') return { environment: next }
  const failure = { code: 'checkpoint_missing', message: doubtful.detail } as const
  const outage: Outage = {
    since: at,
    failures: new Map(),
    gpus: new Set(),
    last: { failure, at },
    stage: 'loading',
    pauses: firstPauseOfCheck,
  }
  return {
    environment: { ...next, breaker: { phase: 'open', ...outage } },
    pause: pauseOf(firstPauseOfCheck),
  }
}

/** A check is more often right than not, so the first probe comes after 8 s. */
const firstPauseOfCheck = 4

const pauseOf = (number: number): NonNullable<Verdict['pause']> => ({
  number,
  ms: Math.min(maxPauseMs, firstPauseMs * 2 ** (number - 1)),
})

const closed: Breaker = { phase: 'closed' }

const isProbe = (
  breaker: Breaker,
  { jobId, epoch }: AttemptKey,
): breaker is Extract<Breaker, { phase: 'halfOpen' }> & { probe: Probe } =>
  breaker.phase === 'halfOpen' && breaker.probe?.jobId === jobId && breaker.probe.epoch === epoch

const rank = (stage: Stage): number => stages.indexOf(stage)

const later = (a: Stage, b: Stage): Stage => (rank(a) > rank(b) ? a : b)
