/** Rules for the jobs of a node that is lost, returns, or is switched off for good. */
import { defaultFilename } from '../../../domain/filename.ts'
import type { AttemptKey, Failure, GpuId, Timestamp } from '../../../domain/job.ts'
import type { NodeName } from '../../../domain/node.ts'
import { findLost, noteLost, withoutAttempts } from '../lost-attempts.ts'
import { gpusOf, nodeNameOf } from '../nodes.ts'
import type { QueueEffect } from '../queue-effects.ts'
import type { LostAttempt } from '../queue-ports.ts'
import type { QueueNews } from '../queue-protocol.ts'
import { type QueueState, waitingJob } from '../queue-state.ts'
import type { RunningJob } from '../running-jobs.ts'
import { end, giveBack } from './attempt-ends.ts'
import { assign } from './claim-rules.ts'
import { absent } from './node-rules.ts'
import { dequeue, type QueueStep, stored, withRunning } from './queue-steps.ts'
import { accountFor } from './unaccounted.ts'

/** The node is out of reach. Its jobs return to the queue, and no attempt is counted. */
export function loseNode(
  state: QueueState,
  { node, gpus }: Extract<QueueNews, { type: 'nodeLost' }>,
  at: Timestamp,
): QueueStep {
  return eachJob(absent(state, node, gpus, 'lost'), node, at, (now, job) => {
    const noted = { ...now, lost: noteLost(now.lost, lostOf(job)) }
    if (job.cancelRequested) return end(noted, job, { status: 'canceled' }, at)
    const isOver = (job.orphaned ?? now.settings.orphanPolicy) === 'fail'
    return isOver
      ? end(noted, job, { status: 'error', failure: failed(node) }, at)
      : giveBack(noted, job, at, lostOn(node))
  })
}

/** The operator's word that the machine is off: no process is left there, and it is not expected back. */
export function forgetNode(state: QueueState, name: NodeName, at: Timestamp): QueueStep {
  const off = absent(state, name, [], 'lost')
  const gpus = gpusOf(off, name)
  const [released, effects] = eachJob(off, name, at, (now, job) =>
    job.cancelRequested
      ? end(now, job, { status: 'canceled' }, at)
      : giveBack({ ...now, lost: noteLost(now.lost, lostOf(job)) }, job, at, lostOn(name)),
  )
  const nodes = new Map(released.nodes)
  nodes.delete(name)
  const nodeOf = new Map(released.nodeOf)
  for (const gpu of gpus) nodeOf.delete(gpu)
  const [accounted, accounts] = accountFor({ ...released, nodes, nodeOf }, gpus, at)
  return [accounted, [...effects, ...accounts]]
}

/** All of them before another job is claimed: each has its old place by then. */
function eachJob(
  state: QueueState,
  node: NodeName,
  at: Timestamp,
  act: (state: QueueState, job: RunningJob) => QueueStep,
): QueueStep {
  const jobs = [...state.running.values()].filter(({ gpu }) => nodeNameOf(state, gpu) === node)
  const effects: QueueEffect[] = []
  let now = state
  for (const job of jobs) {
    const [next, more] = act(now, job)
    now = next
    effects.push(...more)
  }
  const [assigned, claims] = assign(now, at)
  return [assigned, [...effects, ...claims]]
}

/** The generation continues there while its job waits: the job returns to it, and nothing runs twice. */
export function reclaim(
  state: QueueState,
  gpu: GpuId,
  { jobId, epoch }: AttemptKey,
  at: Timestamp,
): QueueStep | undefined {
  const waiting = waitingJob(state, jobId)
  const lost = findLost(state.lost, { jobId, epoch }, gpu)
  if (!state.open || !lost || lost.generatedAt !== undefined) return undefined
  if (waiting?.epoch !== epoch || state.settings.orphanPolicy !== 'adopt') return undefined
  const { seq, filename: requestedFilename, failedOn: _, ...known } = waiting
  const attempts = waiting.attempts + 1
  const { claimedAt, startedAt } = lost
  const filename = requestedFilename ?? defaultFilename(jobId, gpu, claimedAt)
  const times = { claimedAt, ...(startedAt !== undefined && { startedAt }) }
  const running: RunningJob = {
    ...{ ...known, seq, attempts, gpu, filename, phase: 'generating', ...times },
    ...(requestedFilename && { requestedFilename }),
    cancelRequested: false,
  }
  return [
    withRunning(
      { ...dequeue(state, jobId, seq), lost: withoutAttempts(state.lost, [lost]) },
      running,
    ),
    [
      stored({ op: 'reclaim', jobId, epoch, attempt: attempts, gpu, filename, ...times, at }),
      { do: 'logStatus', jobId, status: 'running', epoch, attempt: attempts, gpu },
    ],
  ]
}

const lostOf = ({
  jobId,
  epoch,
  gpu,
  claimedAt,
  startedAt,
  generatedAt,
}: RunningJob): LostAttempt => ({
  ...{ jobId, epoch, gpu, claimedAt },
  ...(startedAt !== undefined && { startedAt }),
  ...(generatedAt !== undefined && { generatedAt }),
})

const lostOn = (node: NodeName): Failure => ({
  code: 'node_lost',
  message: `The machine "${node}" was lost while the job ran there. The attempt does not count.`,
})

const failed = (node: NodeName): Failure => ({
  code: 'node_lost',
  message: `The machine "${node}" was lost while the job ran there, and ORPHAN_POLICY had it end.`,
})
