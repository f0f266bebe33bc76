/** Whether another node of the cluster is at work, as a node that has not joined yet sees it. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Connection } from './database.ts'
import { type ClusterNode, type Members, observeNodes } from './member-rules.ts'
import { defaultNodeBeatMs } from './membership.ts'
import { readNodes } from './node-table.ts'

/**
 * Resolves with another node that beats, at once, or with `undefined` when all have stood still for `lostMs`: a node whose
 * machine was switched off still counts as present when no node leads.
 */
export async function findRunningNode(
  connection: Connection,
  me: string,
  { lostMs, lookMs = defaultNodeBeatMs }: Readonly<{ lostMs: number; lookMs?: number }>,
): Promise<ClusterNode | undefined> {
  let members: Members = new Map()
  for (;;) {
    const { entries, ...look } = await readNodes(connection)
    const others = entries.map(({ node }) => node).filter((node) => isPresent(node, me))
    const moved = others.find((node) => hasMoved(members.get(node.name)?.node, node))
    if (moved) return moved
    const step = observeNodes(members, others, look, { me, lostMs })
    members = step.members
    if (step.suspects.length === others.length) return undefined
    await delay(lookMs)
  }
}

const isPresent = ({ name, state }: ClusterNode, me: string): boolean =>
  name !== me && state === 'present'

const hasMoved = (before: ClusterNode | undefined, { session, beat }: ClusterNode): boolean =>
  before !== undefined && (before.session !== session || before.beat !== beat)
