/** Views of the committed state: the queue as a whole, and a single job. */
import type { Job } from '../../domain/job.ts'
import { size, values } from '../ordered-map.ts'
import type { JobView, QueueSummary } from './queue-protocol.ts'
import { isUsable, positionOf, type QueueSnapshot, type QueueState } from './queue-state.ts'

export function summaryOf(state: QueueState): QueueSummary {
  const [oldest] = values(state.waiting)
  return {
    open: state.open,
    hasRoom: state.hasRoom,
    waiting: size(state.waiting),
    running: state.running.size,
    ...(oldest && { oldestAt: oldest.submittedAt }),
    usableGpus: state.settings.gpus.filter((gpu) => isUsable(state, gpu)),
  }
}

/** A job's record together with what only the queue knows of it. */
export function view(job: Job, state: QueueSnapshot): JobView {
  const position = job.state.status === 'queued' ? positionOf(state, job.id) : undefined
  const running = state.running.get(job.id)
  const reading = running?.epoch === job.epoch ? running.reading : undefined
  return { job, ...(position !== undefined && { position }), ...(reading && { reading }) }
}
