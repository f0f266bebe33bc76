/** The nodes of the queue: machines with GPUs and limits of their own. Without a cluster there is one. */
import type { Shortage } from '../../domain/disk.ts'
import type { GpuId } from '../../domain/job.ts'
import type { NodeName } from '../../domain/node.ts'
import {
  claimsAllowed,
  type Environment,
  type Hold,
  holdOfPlace,
  soundEnvironment,
} from './environment-state.ts'

export type QueueNode = Readonly<{
  name: NodeName
  gpus: readonly GpuId[]
  maxConcurrentLoads: number
  /** `left`: it was stopped, and its generations continue. `lost`: it is out of reach. */
  presence: 'present' | 'left' | 'lost'
  /** On every disk that is written there; without it no job is claimed there. */
  hasRoom: boolean
  /** What is short where there is no room. */
  shortage?: Shortage | undefined
  environment: Environment
  /** That of the template, among those of the jobs. */
  templateLoad?: TemplateLoad | undefined
}>

export type TemplateLoad = Readonly<{ build: number; hasBegun: boolean }>

/** The part of the queue's state that knows of nodes. */
type Fleet = Readonly<{
  settings: Readonly<{ node: NodeName }>
  nodes: ReadonlyMap<NodeName, QueueNode>
  nodeOf: ReadonlyMap<GpuId, NodeName>
}>

export const newNode = ({
  name,
  gpus,
  maxConcurrentLoads,
}: Pick<QueueNode, 'name' | 'gpus' | 'maxConcurrentLoads'>): QueueNode => ({
  ...{ name, gpus, maxConcurrentLoads },
  ...{ presence: 'present', hasRoom: true, environment: soundEnvironment },
})

/** A GPU that no node has announced yet belongs to the first one. */
export const nodeNameOf = ({ nodeOf, settings }: Fleet, gpu: GpuId): NodeName =>
  nodeOf.get(gpu) ?? settings.node

/** Includes former GPUs whose generations continue. */
export const gpusOf = ({ nodeOf }: Pick<Fleet, 'nodeOf'>, name: NodeName): GpuId[] =>
  [...nodeOf].flatMap(([gpu, node]) => (node === name ? [gpu] : []))

/** The node that news is of. Undefined for one that has not joined, or was removed. */
export const nodeNamed = (
  { nodes, settings }: Fleet,
  name = settings.node,
): QueueNode | undefined => nodes.get(name)

export function nodeOn(fleet: Fleet, gpu: GpuId): QueueNode {
  const node = fleet.nodes.get(nodeNameOf(fleet, gpu))
  if (!node) throw new Error(`the queue knows no node of GPU ${gpu}`)
  return node
}

export const withNode = <State extends Fleet>(state: State, node: QueueNode): State =>
  state.nodes.get(node.name) === node
    ? state
    : { ...state, nodes: new Map(state.nodes).set(node.name, node) }

/** With another environment of the node that has this GPU. */
export function withEnvironmentOn<State extends Fleet>(
  state: State,
  gpu: GpuId,
  change: (environment: Environment) => Environment,
): State {
  const node = nodeOn(state, gpu)
  const environment = change(node.environment)
  return environment === node.environment ? state : withNode(state, { ...node, environment })
}

/** Whether jobs may be claimed there, but for the limit of loads. */
export const isHeld = ({ hasRoom, environment }: QueueNode): boolean =>
  !hasRoom || claimsAllowed(environment) === 'none'

/** Whether jobs are claimed there now or as soon as a GPU is free. */
export const mayClaim = (node: QueueNode): boolean =>
  node.presence === 'present' && holdOfPlace(node) === undefined

/** Undefined while a node with GPUs has room, or none is known. */
export function fullNode({ nodes }: Pick<Fleet, 'nodes'>): QueueNode | undefined {
  let full: QueueNode | undefined
  for (const node of nodes.values()) {
    if (node.presence === 'lost' || node.gpus.length === 0) continue
    if (node.hasRoom) return undefined
    full ??= node
  }
  return full
}

/** Why no job is claimed on any node, whatever GPUs there are. */
export function holdOf({ nodes }: Pick<Fleet, 'nodes'>): Hold | undefined {
  let first: Hold | undefined
  for (const node of nodes.values()) {
    if (node.presence !== 'present' || node.gpus.length === 0) continue
    const hold = holdOfPlace(node)
    if (!hold) return undefined
    first ??= nodes.size === 1 ? hold : { ...hold, detail: `${node.name}: ${hold.detail}` }
  }
  return first
}
