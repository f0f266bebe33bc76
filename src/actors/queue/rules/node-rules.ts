/** Membership: which nodes are there, with which GPUs. */
import type { GpuId, Timestamp } from '../../../domain/job.ts'
import type { NodeName } from '../../../domain/node.ts'
import { gpusOf, newNode, type QueueNode, withNode } from '../nodes.ts'
import type { QueueEffect } from '../queue-effects.ts'
import type { QueueNews } from '../queue-protocol.ts'
import type { QueueState } from '../queue-state.ts'
import { assign } from './claim-rules.ts'
import { drainAdded } from './drain-rules.ts'
import type { QueueStep } from './queue-steps.ts'

type News<Type> = Extract<QueueNews, { type: Type }>

/** The node is there: new, back again, or with other GPUs. Repeated news changes nothing. */
export function joinNode(
  state: QueueState,
  { node: name, gpus, maxConcurrentLoads }: News<'nodeJoined'>,
  at: Timestamp,
): QueueStep {
  const known = state.nodes.get(name)
  const node: QueueNode = {
    ...(known ?? newNode({ name, gpus, maxConcurrentLoads })),
    ...{ gpus, maxConcurrentLoads, presence: 'present' },
  }
  const given = gpus.filter((gpu) => state.nodeOf.get(gpu) !== name)
  const taken = known?.gpus.filter((gpu) => !gpus.includes(gpu)) ?? []
  const owned = withNodeAndGpus(withoutGpus(owning(state, name, gpus), [...given, ...taken]), node)
  const [next, drains] = drainAdded(owned, name)
  const [assigned, effects] = assign(next, at)
  return [assigned, [...drains, ...welcomed(assigned, known, node), ...effects]]
}

/** The node was stopped: its generations continue, and it is expected back. */
export function leaveNode(state: QueueState, { node: name, gpus }: News<'nodeLeft'>): QueueStep {
  return [absent(state, name, gpus, 'left'), []]
}

/** The node is not there, and with it none of the actors of its GPUs. */
export function absent(
  state: QueueState,
  name: NodeName,
  gpus: readonly GpuId[],
  presence: 'left' | 'lost',
): QueueState {
  const known = state.nodes.get(name) ?? newNode({ name, gpus, maxConcurrentLoads: 1 })
  const owned = owning(state, name, gpus)
  const node = { ...known, presence, templateLoad: undefined }
  return withNodeAndGpus(withoutGpus(owned, gpusOf(owned, name)), node)
}

/** With the GPUs that get jobs made again from the nodes, if they are others. */
function withNodeAndGpus(state: QueueState, node: QueueNode): QueueState {
  const next = withNode(state, node)
  const known = state.nodes.get(node.name)
  if (known && hasSameGpus(known, node)) return next
  const gpus = [...next.nodes.values()]
    .filter(({ presence }) => presence !== 'lost')
    .flatMap((node) => node.gpus)
  return { ...next, gpus, running: next.running.withGpus(gpus) }
}

const hasSameGpus = (a: QueueNode, b: QueueNode): boolean =>
  (a.presence === 'lost') === (b.presence === 'lost') &&
  a.gpus.length === b.gpus.length &&
  a.gpus.every((gpu, index) => gpu === b.gpus[index])

/** A GPU belongs to the node that announced it last. */
function owning(state: QueueState, name: NodeName, gpus: readonly GpuId[]): QueueState {
  if (gpus.every((gpu) => state.nodeOf.get(gpu) === name)) return state
  const nodeOf = new Map(state.nodeOf)
  for (const gpu of gpus) nodeOf.set(gpu, name)
  const losing = [...state.nodes.values()].filter(
    (node) => node.name !== name && node.gpus.some((gpu) => gpus.includes(gpu)),
  )
  return losing
    .map((node) => ({ ...node, gpus: node.gpus.filter((gpu) => !gpus.includes(gpu)) }))
    .reduce<QueueState>(withNode, { ...state, nodeOf })
}

export function withoutGpus(state: QueueState, gpus: readonly GpuId[]): QueueState {
  if (gpus.length === 0) return state
  const readyGpus = new Map(state.readyGpus)
  const givenUpGpus = new Set(state.givenUpGpus)
  for (const gpu of gpus) {
    readyGpus.delete(gpu)
    givenUpGpus.delete(gpu)
  }
  return { ...state, readyGpus, givenUpGpus }
}

/** Announcements may have been lost while the node was not known. */
const welcomed = (
  { readyGpus }: QueueState,
  known: QueueNode | undefined,
  node: QueueNode,
): QueueEffect[] =>
  known?.presence === 'present' && node.gpus.every((gpu) => readyGpus.has(gpu))
    ? []
    : [{ do: 'welcomeNode', node: node.name }]
