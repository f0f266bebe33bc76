/** The leader's register of nodes: which are there, how their actors are reached, and which GPUs they have. */

import * as v from 'valibot'
import { type ActorRef, refOf, tell } from '../../actors/actor-ref.ts'
import type { ArchiveMessage } from '../../actors/archive/archive-protocol.ts'
import type { ConversionMessage } from '../../actors/conversion/conversion-protocol.ts'
import type { CaretakerMessage } from '../../actors/gpu/caretaker-transition.ts'
import type { GpuMessage } from '../../actors/gpu/gpu-protocol.ts'
import type { GpuDevice } from '../../actors/node/machines.ts'
import type { NodeCommand } from '../../actors/node/node-protocol.ts'
import type { Fleet, NodeActors } from '../../actors/queue/fleet.ts'
import type { QueueMessage } from '../../actors/queue/queue-protocol.ts'
import type { TemplateMessage } from '../../actors/template/template-protocol.ts'
import type { ClusterDatabase } from '../../cluster/database.ts'
import type { GpuPlace } from '../../cluster/gpu-numbers.ts'
import type { ClusterNode, MemberEvent, NodeState } from '../../cluster/member-rules.ts'
import { type MemberWatch, watchMembers } from '../../cluster/member-watch.ts'
import { isPresent, removeNode } from '../../cluster/node-table.ts'
import type { MailAddress } from '../../cluster/outbox.ts'
import type { References } from '../../cluster/references.ts'
import { nodeIsPresent } from '../../domain/errors.ts'
import type { GpuId } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import { type Member, NodeName } from '../../domain/node.ts'
import type { Holder } from '../../http/response/node-files.ts'
import type { Nodes } from '../../http/views/node-view.ts'
import { toStoreError } from '../../infra/store/postgres/postgres-errors.ts'
import { childOf } from '../machine.ts'
import type { FleetMessage } from './fleet-protocol.ts'
import { isRepeated, type Joined, joinedWith, type Knock } from './knocks.ts'
import { isPatientCommand } from './patient-mail.ts'

export type ClusterFleetOptions = Readonly<{
  me: NodeName
  /** Term in which this node leads. */
  term: number
  database: ClusterDatabase
  /** All GPUs that were ever numbered. Updated when nodes join. */
  places: Map<GpuId, GpuPlace>
  /** Model of each GPU, as far as it is known. Updated with them. */
  kinds: Map<GpuId, string | undefined>
  /** GPUs with a running job, as they are stored. */
  busyGpus(): Promise<readonly GpuId[]>
  /** Actors of this node. */
  own: NodeActors
  references: References
  /** The queue and the archive of this node. */
  queue: ActorRef<QueueMessage>
  archive: ActorRef<ArchiveMessage>
  lostMs: number
  /** Whether PostgreSQL has confirmed that no other node leads. */
  isCertain(): boolean
  log: Logger
}>

export type ClusterFleet = Fleet &
  Readonly<{
    /** Where nodes announce themselves. */
    ref: ActorRef<FleetMessage>
    nodes: Nodes
    /** GPUs that nodes have now, and former ones that this node still has a generation on. */
    gpus(): readonly GpuDevice[]
    /** GPUs of nodes that are away or were removed. */
    away(): readonly GpuId[]
    /** Where the files of attempts on this GPU are. */
    holder(gpu: GpuId | undefined): Holder
    /** Letters of nodes may have been lost: all announce themselves again. */
    missed(): void
    stop(): Promise<void>
  }>

/** Rejects as the stores do, so that clients learn that PostgreSQL does not respond. */
const stored = <Result>(work: Promise<Result>): Promise<Result> =>
  work.catch((error: unknown) => {
    throw toStoreError(error)
  })

/** No node has such a name. */
const formerMachine = (name: NodeName) => `${name} (former machine)` as NodeName

/** More than nodes take to join a new leader. */
const lookAtFilesMs = 5_000

export function createClusterFleet({
  me,
  term,
  database,
  places,
  kinds,
  busyGpus,
  own,
  references,
  queue,
  archive,
  lostMs,
  isCertain,
  log,
}: ClusterFleetOptions): ClusterFleet {
  let hasLooked = false
  /** Nodes join one after the other: their files are looked at once. */
  let looking: NodeJS.Timeout | undefined
  /** Until the next look. */
  const removed = new Set<string>()
  /** Nodes that the queue knows to be there, by their session. */
  const joined = new Map<NodeName, Joined>()
  const watch: MemberWatch = watchMembers({
    connection: database.beats,
    ...{ me, term, lostMs, log },
    onEvent: heard,
  })

  return {
    ref: refOf<FleetMessage>('fleet', (message) => {
      const { node, session } = message
      if (message.type === 'knocked') knocked(message)
      // Its actors are still reached: generations end, and are converted.
      else if (joined.get(node)?.session === session) tellLeft(node)
      return true
    }),
    at: (node) => (node === me ? own : joined.get(node)?.actors),
    nodeOf,
    present: () => [...joined.values()].map(({ actors }) => actors),
    queueRestored() {
      for (const { name, state } of members()) {
        const node = v.parse(NodeName, name)
        if (joined.has(node)) tellJoined(node)
        else if (state === 'lost') tellLost(node)
        else if (state === 'left') tellLeft(node)
      }
      if (hasLooked) void loseRemoved()
    },
    missed() {
      for (const name of joined.keys()) tellAgain(name)
    },
    nodes: {
      members: () => members().map(toMember),
      async remove(name, letGo) {
        // The queue does not know of a node that drains, or that has not joined this leader yet.
        if (await stored(isPresent(database.mail, name))) throw nodeIsPresent(name)
        await letGo()
        if (!(await stored(removeNode(database.mail, name)))) throw nodeIsPresent(name)
        removed.add(name)
      },
    },
    gpus: () => members().flatMap(({ gpus }) => gpus),
    away: () =>
      [...places].flatMap(([gpu, { node }]) => (node === me || joined.has(node) ? [] : [gpu])),
    holder(gpu) {
      const name = gpu === undefined ? me : nodeOf(gpu)
      if (name === me) return 'here'
      const node = members().find((one) => one.name === name)
      return node?.state === 'present' ? { name: node.name, url: node.url } : 'away'
    },
    async stop() {
      clearTimeout(looking)
      await watch.stop()
    },
  }

  function nodeOf(gpu: GpuId): NodeName | undefined {
    const place = places.get(gpu)
    return place && (isFormer(place) ? formerMachine(place.node) : place.node)
  }

  /** Another machine has taken the name of its node since. */
  function isFormer({ node, home }: GpuPlace): boolean {
    const now = memberOf(node)?.home
    return now !== undefined && home !== undefined && home !== now
  }

  function members(): readonly ClusterNode[] {
    return [...watch.members().values()]
      .filter(({ node }) => !removed.has(node.name))
      .map(({ node, phase }) => ({ ...node, state: phase }))
  }

  function memberOf(name: NodeName): ClusterNode | undefined {
    return watch.members().get(name)?.node
  }

  function knocked(knock: Knock): void {
    const { node: name, session } = knock
    const node = memberOf(name)
    // It knocks again. Its row is read every second.
    if (!node || node.session !== session || stateOf(name) !== 'present') return
    const known = joined.get(name)
    if (isRepeated(known, knock)) return
    joined.set(name, joinedWith(knock, name === me ? own : actorsOf(name, session)))
    for (const { id, ...device } of node.gpus) {
      places.set(id, { node: name, home: node.home, ...device })
      kinds.set(id, device.name)
    }
    if (known) tellLeft(name)
    tellJoined(name)
    clearTimeout(looking)
    looking = setTimeout(() => tell(archive, { type: 'lookAtFiles' }), lookAtFilesMs).unref()
  }

  /** Nobody will report that they are lost: they were removed while no node led. */
  async function loseRemoved(): Promise<void> {
    const busy = await busyGpus().catch(() => [])
    for (const name of new Set(busy.map(nodeOf))) {
      if (name === undefined || memberOf(name)) continue
      tell(queue, { type: 'nodeLost', node: name, gpus: [] })
    }
  }

  function heard(event: MemberEvent): void {
    const { node } = event
    removed.delete(node.name)
    if (!hasLooked) setImmediate(() => void loseRemoved())
    hasLooked = true
    const parsed = v.safeParse(NodeName, node.name)
    if (!parsed.success) {
      log.warn({ node: node.name }, 'a node has a name that this version does not take')
      return
    }
    const name = parsed.output
    switch (event.type) {
      case 'left':
        joined.delete(name)
        log.info({ node: name }, 'a node has left the cluster')
        tellLeft(name)
        break
      case 'lost':
        joined.delete(name)
        log.warn({ node: name, url: node.url }, 'a node is lost; its jobs run elsewhere')
        tellLost(name)
        break
      case 'removed':
        joined.delete(name)
        log.info({ node: name }, 'a node was removed from the cluster')
        break
      case 'joined':
      case 'returned':
        log.info({ node: name, url: node.url }, 'a node is in the cluster')
        break
      case 'changed':
        break
      default:
        event satisfies never
    }
  }

  function tellAgain(name: NodeName): void {
    tellLeft(name)
    tellJoined(name)
  }

  function tellLost(name: NodeName): void {
    tell(queue, { type: 'nodeLost', node: name, gpus: gpusOf(name) })
  }

  function tellLeft(name: NodeName): void {
    tell(queue, { type: 'nodeLeft', node: name, gpus: gpusOf(name) })
  }

  function tellJoined(name: NodeName): void {
    const node = memberOf(name)
    if (!node) return
    const { maxLoads: maxConcurrentLoads } = node
    const former = [...places].filter(([, place]) => place.node === name && isFormer(place))
    if (former.length > 0) {
      const gpus = former.map(([gpu]) => gpu)
      tell(queue, { type: 'nodeLost', node: formerMachine(name), gpus })
    }
    tell(queue, { type: 'nodeJoined', node: name, gpus: gpusOf(name), maxConcurrentLoads })
  }

  function gpusOf(name: NodeName): readonly GpuId[] {
    return memberOf(name)?.gpus.map(({ id }) => id) ?? []
  }

  function stateOf(name: NodeName): NodeState | undefined {
    return watch.members().get(name)?.phase
  }

  function toMember({ name, url, version, state }: ClusterNode): Member {
    const role = name === me && isCertain() ? 'leader' : 'follower'
    return { name: v.parse(NodeName, name), url, version, role, state }
  }

  function actorsOf(node: NodeName, session: number): NodeActors {
    const at = (): MailAddress => ({ node, session })
    const gpus = new Map<GpuId, ActorRef<GpuMessage>>()
    return {
      node: references.remote<NodeCommand>('node', at, isPatientCommand),
      conversion: references.remote<ConversionMessage>('conversion', at),
      caretaker: references.remote<CaretakerMessage>('caretaker', at),
      template: references.remote<TemplateMessage>('template', at),
      gpu(gpu) {
        const known = gpus.get(gpu) ?? references.remote<GpuMessage>(childOf(gpu), at)
        gpus.set(gpu, known)
        return known
      },
    }
  }
}
