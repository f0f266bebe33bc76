/** Views of the committed state: the queue as a whole, and a single job. */
import type { Job } from '../../domain/job.ts'
import { size, values } from '../ordered-map.ts'
import { holdOfPlace } from './environment-state.ts'
import { fullNode, holdOf, nodeNameOf, type QueueNode } from './nodes.ts'
import type { JobView, NodeCondition, NodeUse, QueueSummary } from './queue-protocol.ts'
import {
  gpuUse,
  healthOf,
  isUsable,
  positionOf,
  type QueueSnapshot,
  type QueueState,
} from './queue-state.ts'

export function summaryOf(state: QueueState): QueueSummary {
  const [oldest] = values(state.waiting)
  const hold = holdOf(state)
  return {
    open: state.open,
    hasRoom: fullNode(state) === undefined,
    ...(hold && { hold }),
    nodes: [...state.nodes.values()]
      .filter(({ presence }) => presence === 'present')
      .map(condition),
    waiting: size(state.waiting),
    running: state.running.size,
    ...(oldest && { oldestAt: oldest.submittedAt }),
    usableGpus: state.gpus.filter((gpu) => isUsable(state, gpu)),
    slowLoads: state.gpus.filter((gpu) => gpuUse(state, gpu).loadsUnusuallyLong),
  }
}

function condition(node: QueueNode): NodeCondition {
  const { name, gpus, environment } = node
  const hold = holdOfPlace(node)
  const failed = [...environment.faults, ...environment.disbelieved]
  return { name, gpus, ...(hold && { hold }), failed }
}

export function nodeUse(state: QueueState, node: QueueNode): NodeUse {
  const { name, presence, gpus, maxConcurrentLoads, hasRoom } = node
  const areDrained = gpus.length > 0 && gpus.every((gpu) => healthOf(state, gpu).drained)
  const drained = state.drainedNodes.has(name) || areDrained
  const hold = holdOfPlace(node)
  const known = { name, presence, gpus, maxConcurrentLoads, drained, hasRoom }
  return { ...known, ...(hold && { hold }) }
}

/** A job's record together with what only the queue knows of it. */
export function view(job: Job, state: QueueSnapshot): JobView {
  const position = job.state.status === 'queued' ? positionOf(state, job.id) : undefined
  const hold = position === undefined ? undefined : holdOf(state)
  const running = state.running.get(job.id)
  const reading = running?.epoch === job.epoch ? running.reading : undefined
  return {
    job,
    ...(position !== undefined && { position }),
    ...(hold && { waitsFor: hold.reason }),
    ...(running && { node: nodeNameOf(state, running.gpu) }),
    ...(reading && { reading }),
  }
}
