/** The parts of rows of a cluster: what they strike, and when. */
import { setTimeout as delay } from 'node:timers/promises'
import type { PostgresServer } from '../../postgres.ts'
import type { SmallDisk } from '../../small-disk.ts'
import type { Victim } from '../processes.ts'
import type { Random } from '../random.ts'
import type { ChaosNode, Fleet } from './nodes.ts'

export type ClusterWorld = Readonly<{
  root: string
  random: Random
  fleet: Fleet
  postgres: PostgresServer
  /** The disk of PostgreSQL, where a row fills it. */
  disk?: SmallDisk | undefined
  /** Program of an earlier version, where a row runs it. */
  earlier?: string | undefined
  /** Nodes with a fault under way: no other fault strikes them meanwhile. */
  struck: Set<ChaosNode>
  kill(victim: Victim): boolean
  /** Called before a machine is powered off. */
  onPowerOff(node: ChaosNode): void
  /** Counts a fault of this kind. */
  count(kind: string): void
}>

/** Waits for its moment and strikes once. False: there was nobody to be struck. */
export type ClusterStroke = (world: ClusterWorld) => Promise<boolean>
export type NodeStroke = (world: ClusterWorld, node: ChaosNode) => Promise<boolean>

export type Role = 'leader' | 'follower'
export const roles: readonly Role[] = ['leader', 'follower']

export const nobodyMs = 15_000

/** Strikes a node that serves: the leader, or any other. */
export async function strikeNode(
  world: ClusterWorld,
  role: Role,
  stroke: NodeStroke,
): Promise<boolean> {
  const { fleet, random } = world
  for (const giveUpAt = Date.now() + nobodyMs; Date.now() < giveUpAt; await delay(20)) {
    const leader = fleet.leader()
    if (!leader) continue
    const others = fleet.nodes.filter((node) => node !== leader && node.service.url())
    const candidates = (role === 'leader' ? [leader] : others).filter(
      (node) => !world.struck.has(node),
    )
    const node = random.pick(candidates)
    if (node) return alone(world, node, stroke)
  }
  return false
}

/** No other fault strikes this node meanwhile. */
export async function alone(
  world: ClusterWorld,
  node: ChaosNode,
  stroke: NodeStroke,
): Promise<boolean> {
  world.struck.add(node)
  try {
    return await stroke(world, node)
  } finally {
    world.struck.delete(node)
  }
}

export const isFree =
  ({ struck }: ClusterWorld) =>
  (node: ChaosNode): boolean =>
    !struck.has(node)
