import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import {
  createEstimator,
  estimateJob,
  goOn,
  remember,
  see,
} from '../../../src/actors/eta/estimator.ts'
import type { PastAttempt } from '../../../src/actors/eta/eta-ports.ts'
import { nodeNamed, type QueueNode, withNode } from '../../../src/actors/queue/nodes.ts'
import type { QueueState } from '../../../src/actors/queue/queue-state.ts'
import { transition } from '../../../src/actors/queue/rules/queue-transition.ts'
import type { GpuId } from '../../../src/domain/job.ts'
import { NodeName } from '../../../src/domain/node.ts'
import { aQueue, aTraced, speeds } from '../../support/eta.ts'
import { gpu0, gpu1, gpu2, gpuId, jobId, midnight } from '../../support/jobs.ts'

const other = v.parse(NodeName, 'other')
const gpu3 = gpuId(3)

/** GPUs 0 and 1 are on the first node, 2 and 3 on the other one. */
const twoNodes = (waiting: number, maxConcurrentLoads = 2): QueueState =>
  [gpu2, gpu3].reduce<QueueState>(
    (queue, gpu) =>
      transition(queue, { type: 'gpuReady', gpu, incarnation: `gpu-${gpu}.1` }, midnight)[0],
    transition(
      // Closed, so that the waiting jobs stay for the forecast.
      { ...aQueue({ waiting, ready: [gpu0, gpu1], gpus: [gpu0, gpu1] }), open: false },
      { type: 'nodeJoined', node: other, gpus: [gpu2, gpu3], maxConcurrentLoads },
      midnight,
    )[0],
  )

const withOther = (queue: QueueState, change: Partial<QueueNode>): QueueState => {
  const node = nodeNamed(queue, other)
  return node ? withNode(queue, { ...node, ...change }) : queue
}

/** Each load takes 60 of 100 s from memory. */
const past = (gpus: readonly GpuId[]) =>
  gpus.flatMap((gpu) =>
    Array.from({ length: 5 }, (_, n) => aTraced(gpu, n - 5, { encoding: 60 }, 100, 100)),
  )

const all = [gpu0, gpu1, gpu2, gpu3]

describe('the forecast of several nodes', () => {
  it('counts the loads of each node by its own limit', () => {
    const queue = drained(twoNodes(2, 1), gpu0, gpu1)
    expect(etas(past(all), queue)).toEqual([100, 160])
  })

  it('lets nodes load at the same time', () => {
    const queue = drained(twoNodes(3, 1), gpu1)
    expect(etas(past(all), queue)).toEqual([100, 100, 160])
  })

  it.each<[state: string, change: Partial<QueueNode>]>([
    ['has no room', { hasRoom: false }],
    ['was stopped', { presence: 'left' }],
    ['is lost', { presence: 'lost' }],
  ])('does not use the GPUs of a node that %s', (_, change) => {
    expect(etas(past(all), withOther(twoNodes(4), change))).toEqual([100, 100, 200, 200])
  })

  it('has no estimate when no node takes jobs', () => {
    const queue = withOther(drained(twoNodes(2), gpu0, gpu1), { presence: 'left' })
    expect(etas(past(all), queue)).toEqual([undefined, undefined])
  })

  it('is made again when a node takes jobs again', () => {
    const held = withOther(twoNodes(4), { hasRoom: false })
    const before = estimatorOf(past(all), held)
    const after = see(before, withOther(held, { hasRoom: true }))
    expect(seconds(goOn(after, clock), 4)).toEqual([100, 100, 100, 100])
  })

  it('expects a load from disk on a node on which nothing has loaded, whatever another has loaded', () => {
    const cold = all.map((gpu) => aTraced(gpu, -100, { encoding: 150 }, 190, 190))
    const history = [...cold, ...past([gpu0, gpu1])]
    const oneNode = aQueue({ waiting: 2, ready: all, gpus: all })
    const [fromDisk = 0] = etas(history, drained(twoNodes(2), gpu0, gpu1))
    const [fromMemory = 0] = etas(history, drained(oneNode, gpu0, gpu1))
    expect(fromDisk).toBeGreaterThan(fromMemory + 20)
  })
})

const clock = { now: midnight, stopwatch: () => 0 }

const estimatorOf = (past: readonly PastAttempt[], queue: QueueState, startsWarm = false) =>
  goOn(see(remember(createEstimator(speeds()), past), queue), { ...clock, startsWarm })

function seconds(estimator: ReturnType<typeof createEstimator>, jobs: number) {
  return Array.from({ length: jobs }, (_, index) => {
    const [, told] = estimateJob(estimator, jobId(index + 1), midnight)
    return told && Math.round(told.p50)
  })
}

const etas = (past: readonly PastAttempt[], queue: QueueState) =>
  seconds(estimatorOf(past, queue), queue.nextSeq - 1)

const drained = (queue: QueueState, ...gpus: GpuId[]): QueueState => ({
  ...queue,
  gpuHealth: new Map(gpus.map((gpu) => [gpu, { drained: true, failures: [] }])),
})
