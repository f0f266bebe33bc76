/** Messages from the queue to the actors of nodes. */
import type { AttemptKey, GpuId, Job } from '../../domain/job.ts'
import type { NodeName } from '../../domain/node.ts'
import { tell } from '../actor.ts'
import type { StopReason } from '../gpu/gpu-ports.ts'
import type { GpuMessage } from '../gpu/gpu-protocol.ts'
import type { Fleet, NodeActors } from './fleet.ts'
import type { JobOrder } from './queue-effects.ts'

export type NodeOrders = ReturnType<typeof createNodeOrders>

export function createNodeOrders(fleet: Pick<Fleet, 'at' | 'nodeOf'>) {
  return { tellAt, give, stop }

  /** False: the node is not there. Both sides announce themselves when it is. */
  function tellAt(node: NodeName | undefined, tellThem: (actors: NodeActors) => boolean): boolean {
    const actors = node === undefined ? undefined : fleet.at(node)
    return actors !== undefined && tellThem(actors)
  }

  function tellGpu(gpu: GpuId, message: GpuMessage): boolean {
    return tellAt(fleet.nodeOf(gpu), (actors) => {
      const actor = actors.gpu(gpu)
      return actor !== undefined && tell(actor, message)
    })
  }

  /** False: it was not received. A generation that was to be started is not adopted later, as others are. */
  function give(order: JobOrder, { request }: Job): boolean {
    const { jobId, epoch } = order
    switch (order.do) {
      case 'convert':
        return tellAt(order.node, ({ conversion }) =>
          tell(conversion, { type: 'convert', jobId, epoch, filename: order.filename, request }),
        )
      case 'abortConversion':
        return tellAt(order.node, ({ conversion }) =>
          tell(conversion, { type: 'abort', jobId, epoch, filename: order.filename }),
        )
      case 'adoptGeneration':
        tellAt(fleet.nodeOf(order.gpu), ({ caretaker }) =>
          tell(caretaker, { type: 'letGo', jobId, epoch }),
        )
        // Offered again to the next incarnation.
        return tellGpu(order.gpu, { type: 'adopt', order: { jobId, epoch, request } })
      case 'careFor':
        return tellAt(fleet.nodeOf(order.gpu), ({ caretaker }) =>
          tell(caretaker, { type: 'careFor', gpu: order.gpu, order: { jobId, epoch, request } }),
        )
      case 'startGeneration':
        return tellGpu(order.gpu, { type: 'run', order: { jobId, epoch, request } })
    }
  }

  function stop(gpu: GpuId, attempt: AttemptKey & Readonly<{ reason: StopReason }>): void {
    // Not running: then its next incarnation is told when it announces itself.
    tellGpu(gpu, { type: 'stopGeneration', ...attempt })
    tellAt(fleet.nodeOf(gpu), ({ caretaker }) =>
      tell(caretaker, { type: 'stopGeneration', ...attempt }),
    )
  }
}
