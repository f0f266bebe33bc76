/** How a node looks from outside: as the cluster and the queue see it. */
import * as v from 'valibot'
import type { Hold } from '../../actors/queue/environment-state.ts'
import type { NodeUse } from '../../actors/queue/queue-protocol.ts'
import type { GpuId } from '../../domain/job.ts'
import { type Member, type NodeName, nodeRoles, nodeStates } from '../../domain/node.ts'
import { Count, iso, Time } from './words.ts'

/** The nodes that share the queue. A service without a cluster is the only one. */
export type Nodes = Readonly<{
  members(): readonly Member[]
  /**
   * Forgets a node after the queue has let it go. Repeated, it changes nothing. Rejects with `node_present` if the node
   * runs, in most cases before the queue is asked.
   */
  remove(name: NodeName, letGo: () => Promise<void>): Promise<void>
}>

/** The node that has this GPU. Undefined: a GPU of a node that was removed. */
export type NodeOf = (gpu: GpuId) => NodeName | undefined

export const NodeNameJson = v.pipe(
  v.string(),
  v.description(
    'name of a node in `GET /nodes`, followed by ` (former machine)` if another machine has taken that name',
  ),
)

const NodeHoldJson = v.object({
  reason: v.picklist(['disk', 'environment']),
  detail: v.string(),
  since: v.nullable(Time),
})

const untilKnown = 'null until the queue knows the node'

export const NodeJson = v.object({
  name: v.string(),
  url: v.pipe(v.string(), v.description('URL of its API')),
  role: v.pipe(v.picklist(nodeRoles), v.description('the leader runs the queue')),
  state: v.pipe(
    v.picklist(nodeStates),
    v.description(
      '`left`: the service was stopped there, and its generations continue. `lost`: it is out of reach',
    ),
  ),
  version: v.string(),
  drained: v.pipe(
    v.nullable(v.boolean()),
    v.description(`all of its GPUs are drained; ${untilKnown}`),
  ),
  has_room: v.pipe(
    v.nullable(v.boolean()),
    v.description(`room on every disk that is written there; ${untilKnown}`),
  ),
  hold: v.pipe(v.nullable(NodeHoldJson), v.description('why no job is started there')),
  max_concurrent_loads: v.pipe(
    v.nullable(Count),
    v.description(`\`MAX_CONCURRENT_LOADS\` of the node; ${untilKnown}`),
  ),
  gpus: v.pipe(v.array(Count), v.description('the `gpu_id` of each GPU')),
})
export type NodeJson = v.InferOutput<typeof NodeJson>

export const nodeJson = (
  { name, url, version, role, state }: Member,
  use: NodeUse | undefined,
): NodeJson => ({
  ...{ name, url, role, state, version },
  drained: use?.drained ?? null,
  has_room: use?.hasRoom ?? null,
  hold: use?.hold ? holdJson(use.hold) : null,
  max_concurrent_loads: use?.maxConcurrentLoads ?? null,
  gpus: [...(use?.gpus ?? [])],
})

const holdJson = (hold: Hold) => ({
  reason: hold.reason,
  detail: hold.detail,
  since: iso('since' in hold ? hold.since : undefined),
})
