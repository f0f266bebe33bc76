/** What the leader makes of the rows of all nodes: who is here, who has left, and who is to be counted as lost. */
import type { GpuId } from '../domain/job.ts'
import { type Look, stillMs, type Watch, watch } from './watch.ts'

/** `left`: it was stopped in an orderly way. `lost`: its beat stood still. */
export type NodeState = 'present' | 'left' | 'lost'

export type NodeGpu = Readonly<{ id: GpuId; device: string; name?: string; uuid?: string }>

/** What a node says of itself. */
export type NodeDescription = Readonly<{
  /** Base URL by which other nodes reach it. */
  url: string
  version: string
  gpus: readonly NodeGpu[]
  maxLoads: number
}>

/** `session`: number of its membership. Mail for an earlier one is dropped, and only its owner beats in it. */
export type ClusterNode = NodeDescription &
  Readonly<{ name: string; home: string; session: number; state: NodeState; beat: number }>

export type MemberEvent = Readonly<
  | { type: 'joined' | 'left' | 'lost'; node: ClusterNode }
  /** It says something else of itself. */
  | { type: 'changed'; node: ClusterNode }
  /** It has another session: it was started again, or it was lost and comes back. */
  | { type: 'returned'; node: ClusterNode; wasLost: boolean }
  | { type: 'removed'; node: ClusterNode }
>

/** `phase`: as reported. A node that left is lost too, though later than others, and its row says that it left. */
export type Member = Readonly<{ node: ClusterNode; phase: NodeState; seen?: Watch | undefined }>

export type Members = ReadonlyMap<string, Member>

export type MembersStep = Readonly<{
  members: Members
  events: readonly MemberEvent[]
  /** Nodes that stood still for too long, as they were seen. */
  suspects: readonly ClusterNode[]
}>

export function observeNodes(
  before: Members,
  nodes: readonly ClusterNode[],
  look: Look,
  { me, lostMs, leftMs = lostMs }: Readonly<{ me: string; lostMs: number; leftMs?: number }>,
): MembersStep {
  const members = new Map<string, Member>()
  const events: MemberEvent[] = []
  const suspects: ClusterNode[] = []
  for (const node of nodes) {
    const known = before.get(node.name)
    const event = known ? eventOf(known, node) : { type: firstEvent[node.state], node }
    if (event) events.push(event)
    const phase = event ? phaseAfter(event) : (known?.phase ?? node.state)
    const seen = watch(known?.seen, `${node.session}/${node.beat}`, look, lostMs)
    members.set(node.name, { node, phase, seen })
    const maxStillMs = phase === 'left' ? leftMs : lostMs
    if (phase !== 'lost' && node.name !== me && stillMs(seen) >= maxStillMs) suspects.push(node)
  }
  for (const [name, { node }] of before) {
    if (!members.has(name)) events.push({ type: 'removed', node })
  }
  return { members, events, suspects }
}

/** After a look that failed: standing still counts from the next one. */
export const forgetSights = (members: Members): Members =>
  new Map([...members].map(([name, { node, phase }]) => [name, { node, phase }]))

/** After the session of a suspect was raised, so that it cannot come back unseen. */
export function markLost(members: Members, lost: ClusterNode): MembersStep {
  const node: ClusterNode = { ...lost, session: lost.session + 1 }
  return {
    members: new Map(members).set(node.name, { node, phase: 'lost' }),
    events: [{ type: 'lost', node }],
    suspects: [],
  }
}

const firstEvent = { present: 'joined', left: 'left', lost: 'lost' } as const

function eventOf(known: Member, node: ClusterNode): MemberEvent | undefined {
  const isSameSession = node.session === known.node.session
  switch (node.state) {
    case 'present':
      if (!isSameSession || known.phase !== 'present') {
        return { type: 'returned', node, wasLost: known.phase === 'lost' }
      }
      return isSameDescription(known.node, node) ? undefined : { type: 'changed', node }
    case 'left':
      if (isSameSession && known.phase !== 'present') return undefined
      return { type: 'left', node }
    case 'lost':
      return known.phase === 'lost' ? undefined : { type: 'lost', node }
  }
}

function phaseAfter({ type }: MemberEvent): NodeState {
  return type === 'left' || type === 'lost' ? type : 'present'
}

const isSameDescription = (a: NodeDescription, b: NodeDescription): boolean =>
  a.url === b.url &&
  a.version === b.version &&
  a.maxLoads === b.maxLoads &&
  JSON.stringify(a.gpus) === JSON.stringify(b.gpus)
