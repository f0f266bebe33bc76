/** The GPUs that may be given a job now, by the limits of their nodes. */
import type { GpuId } from '../../../domain/job.ts'
import type { NodeName } from '../../../domain/node.ts'
import { claimsAllowed } from '../environment-state.ts'
import { nodeNameOf, type QueueNode } from '../nodes.ts'
import { isUsable, type QueueState } from '../queue-state.ts'

export type Offer = Readonly<{ gpu: GpuId; seconds: number }>

/**
 * How many generations of a node may wait for their conversion before no more are begun. As a rule one
 * takes minutes and the other seconds; where it is not so, disks would fill with what nobody can have yet.
 */
const maxUnconverted = ({ gpus }: QueueNode): number => Math.max(64, 4 * gpus.length)

/** Free GPUs during one run of claims, in ascending order. */
export class Offers {
  /** On nodes on which any job may be claimed. */
  ofAny: readonly Offer[] = []
  /** On nodes on which one job at a time is claimed, as a probe. */
  ofProbes: readonly Offer[] = []

  readonly #loads: Map<NodeName, number>

  constructor(state: QueueState) {
    const { running, secondsPerJob } = state
    this.#loads = new Map()
    const idle = [...running.idleGpus()].filter((gpu) => isUsable(state, gpu))
    if (idle.length === 0) return
    this.#loads = loadsByNode(state)
    const unconverted = countByNode(state, running.conversions())
    const average = averageOf(secondsPerJob)
    const all = idle.map((gpu) => ({ gpu, seconds: secondsPerJob.get(gpu) ?? average }))
    const mayConvert = new Set(
      [...state.nodes.values()]
        .filter((node) => (unconverted.get(node.name) ?? 0) < maxUnconverted(node))
        .map(({ name }) => name),
    )
    this.#sort(
      all.filter(({ gpu }) => mayConvert.has(nodeNameOf(state, gpu))),
      state,
    )
  }

  /** The GPU has a job now, and its node one load more. */
  take(taken: GpuId, state: QueueState): void {
    const node = nodeNameOf(state, taken)
    this.#loads.set(node, (this.#loads.get(node) ?? 0) + 1)
    const left = [...this.ofAny, ...this.ofProbes].filter(({ gpu }) => gpu !== taken)
    this.#sort(
      left.sort((a, b) => a.gpu - b.gpu),
      state,
    )
  }

  #sort(offers: readonly Offer[], state: QueueState): void {
    const allowed = new Map(
      [...state.nodes.values()].map((node) => [node.name, this.#allowedOn(node)] as const),
    )
    const having = (wanted: 'any' | 'one') =>
      offers.filter(({ gpu }) => allowed.get(nodeNameOf(state, gpu)) === wanted)
    this.ofAny = having('any')
    this.ofProbes = having('one')
  }

  #allowedOn(node: QueueNode): 'any' | 'one' | 'none' {
    const hasTurn = (this.#loads.get(node.name) ?? 0) < node.maxConcurrentLoads
    const isOpen = node.presence === 'present' && node.hasRoom && hasTurn
    return isOpen ? claimsAllowed(node.environment) : 'none'
  }
}

/** The one that will finish first by its own history; the lowest number breaks ties. */
export function fastest(offers: readonly Offer[], except?: GpuId): GpuId | undefined {
  let best: Offer | undefined
  for (const offer of offers) {
    if (offer.gpu !== except && (!best || offer.seconds < best.seconds)) best = offer
  }
  return best?.gpu
}

/** How many models load on each node, that of its template included. */
export function loadsByNode(state: QueueState): Map<NodeName, number> {
  const { running, givenUpGpus } = state
  const loads = countByNode(
    state,
    [...running.loads()].filter((gpu) => !givenUpGpus.has(gpu)),
  )
  for (const { name, templateLoad } of state.nodes.values()) {
    if (templateLoad?.hasBegun) loads.set(name, (loads.get(name) ?? 0) + 1)
  }
  return loads
}

function countByNode(state: QueueState, gpus: Iterable<GpuId>): Map<NodeName, number> {
  const counts = new Map<NodeName, number>()
  for (const gpu of gpus) {
    const node = nodeNameOf(state, gpu)
    counts.set(node, (counts.get(node) ?? 0) + 1)
  }
  return counts
}

const averageOf = (seconds: ReadonlyMap<GpuId, number>): number =>
  seconds.size === 0
    ? 0
    : [...seconds.values()].reduce((sum, value) => sum + value, 0) / seconds.size
