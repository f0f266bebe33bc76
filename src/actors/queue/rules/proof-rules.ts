/** What follows when an attempt gets further than those that the environment has failed. */
import type { Stage, Timestamp } from '../../../domain/job.ts'
import type { Breaker } from '../environment-state.ts'
import { nodeOn, withEnvironmentOn } from '../nodes.ts'
import type { QueueEffect } from '../queue-effects.ts'
import type { QueueState } from '../queue-state.ts'
import type { RunningJob } from '../running-jobs.ts'
import { gotTo } from './environment-rules.ts'
import { blameGpu } from './gpu-rules.ts'
import type { QueueStep } from './queue-steps.ts'

/** Where all failures happened on one GPU and the proof on another, that GPU is at fault. */
export function hasGotTo(
  state: QueueState,
  job: RunningJob,
  stage: Stage | 'end',
  at: Timestamp,
): QueueStep {
  const { breaker } = nodeOn(state, job.gpu).environment
  let now = withEnvironmentOn(state, job.gpu, (environment) => gotTo(environment, job, stage))
  if (now === state) return [state, []]
  const effects: QueueEffect[] = []
  for (const culprit of culpritsOf(breaker, job)) {
    const [next, more] = blameGpu(now, culprit, at)
    now = next
    effects.push(...more)
  }
  return [now, effects]
}

function culpritsOf(breaker: Breaker, { gpu: provenGpu }: RunningJob) {
  if (breaker.phase === 'closed' || breaker.gpus.size !== 1) return []
  const { gpu, failure } = breaker.last
  if (gpu === undefined || gpu === provenGpu) return []
  return [...breaker.failures.keys()].map((jobId) => ({ gpu, jobId, code: failure.code }))
}
