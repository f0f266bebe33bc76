/** The fleet of a service without a cluster: the machine that it runs on. */
import { tell } from '../actors/actor.ts'
import type { Fleet, NodeActors } from '../actors/queue/fleet.ts'
import { soleNode } from '../domain/node.ts'

/** The actor of the node is being started again. */
const retryMs = 500

export function createLocalFleet(actors: NodeActors): Fleet {
  return {
    at: (node) => (node === soleNode ? actors : undefined),
    nodeOf: () => soleNode,
    present: () => [actors],
    queueRestored: welcome,
  }

  function welcome(): void {
    if (!tell(actors.node, { type: 'welcome' })) setTimeout(welcome, retryMs).unref()
  }
}
