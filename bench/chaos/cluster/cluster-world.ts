/** The parts of rows of a cluster: what they strike, and when. */
import { setTimeout as delay } from 'node:timers/promises'
import type { PostgresServer } from '../../postgres.ts'
import type { SmallDisk } from '../../small-disk.ts'
import type { Victim } from '../processes.ts'
import type { Random } from '../random.ts'
import type { ChaosNode, Fleet } from './nodes.ts'

/** The database has one server for all nodes. */
export const database = 'PostgreSQL'

export type Target = ChaosNode | typeof database

/** Times in milliseconds; `to`: when the row went on, which may be before it was made good. */
export type Fault = Readonly<{ kind: string; target: string; from: number; to: number }>

export type ClusterWorld = Readonly<{
  root: string
  random: Random
  fleet: Fleet
  postgres: PostgresServer
  /** The disk of PostgreSQL, where a row fills it. */
  disk?: SmallDisk | undefined
  /** Program of an earlier version, where a row runs it. */
  earlier?: string | undefined
  /** Targets with a fault under way: no other fault strikes them meanwhile. */
  struck: Set<Target>
  faults: Fault[]
  kill(victim: Victim): boolean
  /** Called before a machine is powered off. */
  onPowerOff(node: ChaosNode): void
}>

/** Waits for its moment and strikes once. False: there was nobody to be struck. */
export type ClusterStroke = (world: ClusterWorld) => Promise<boolean>
/** A string names the fault more exactly. */
export type NodeStroke = (world: ClusterWorld, node: ChaosNode) => Promise<boolean | string>

export type Role = 'leader' | 'follower'
export const roles: readonly Role[] = ['leader', 'follower']

export const nobodyMs = 15_000

/** Strikes a node that serves: the leader, or any other. */
export async function strikeNode(
  world: ClusterWorld,
  role: Role,
  kind: string,
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
    if (node) return alone(world, node, `${role}-${kind}`, () => stroke(world, node))
  }
  return false
}

/** No other fault strikes this target meanwhile. */
export async function alone(
  { struck, faults }: ClusterWorld,
  target: Target,
  kind: string,
  stroke: () => Promise<boolean | string>,
): Promise<boolean> {
  struck.add(target)
  const from = Date.now()
  try {
    const hit = await stroke()
    const name = target === database ? database : target.name
    if (hit) {
      faults.push({ kind: hit === true ? kind : hit, target: name, from, to: Date.now() })
    }
    return hit !== false
  } finally {
    struck.delete(target)
  }
}

export const isFree =
  ({ struck }: ClusterWorld) =>
  (target: Target): boolean =>
    !struck.has(target)
