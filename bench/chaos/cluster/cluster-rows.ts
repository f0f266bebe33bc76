/** Nodes of a cluster that each row strikes. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { PostgresServer } from '../../postgres.ts'
import { type Cast, castOf, signal, type Victim } from '../processes.ts'
import type { Random } from '../random.ts'
import { type ChaosNode, type Fleet, freeze, machineOf, setClock } from './nodes.ts'
import { startTwin } from './twin.ts'

export type ClusterWorld = Readonly<{
  root: string
  random: Random
  fleet: Fleet
  postgres: PostgresServer
  kill(victim: Victim): boolean
  /** Told before a machine is powered off. */
  onPowerOff(node: ChaosNode): void
}>

/** Waits for its moment and strikes once. False: there was nobody to be struck. */
export type ClusterStroke = (world: ClusterWorld) => Promise<boolean>

type Role = 'leader' | 'follower'
type Part = 'shims' | 'generations'

const nobodyMs = 15_000

const minute = 60_000
export const clockSteps = [0, 60 * minute, -30 * minute] as const

export const clusterRows = {
  'leader-service': (world) => killService(world, 'leader'),
  'follower-service': (world) => killService(world, 'follower'),
  'leader-machine': (world) => powerOff(world, 'leader'),
  'follower-machine': (world) => powerOff(world, 'follower'),
  'leader-shim': (world) => killPart(world, 'leader', 'shims'),
  'follower-shim': (world) => killPart(world, 'follower', 'shims'),
  'leader-generation': (world) => killPart(world, 'leader', 'generations'),
  'follower-generation': (world) => killPart(world, 'follower', 'generations'),
  'leader-gpu-actor': (world) => crashGpuActor(world, 'leader'),
  'follower-gpu-actor': (world) => crashGpuActor(world, 'follower'),
  'leader-freeze': (world) => freezeOne(world, 'leader'),
  'follower-freeze': (world) => freezeOne(world, 'follower'),

  'cluster-postgres': async ({ random, postgres }) => {
    await delay(random.between(0, 1_500))
    await postgres.stop('SIGKILL')
    await delay(random.chance(0.7) ? random.between(0, 1_000) : random.between(3_000, 10_000))
    await postgres.startAgain()
    return true
  },

  'partition-postgres': (world) => partition(world, ({ database }) => database),
  'partition-nodes': (world) => partition(world, ({ door }) => door),

  /** One fault is one node that is stopped and started again, in turn. */
  rolling: async ({ random, fleet }) => {
    const next = fleet.nodes.toSorted((a, b) => upSince(a) - upSince(b))[0]
    if (!next) return false
    await delay(random.between(0, 1_000))
    await next.service.listening()
    await next.service.stop()
    await next.service.listening()
    return true
  },

  'same-name': async (world) => {
    const { random, fleet, root } = world
    const node = random.pick(fleet.nodes)
    if (!node) return false
    await node.service.listening()
    await using twin = startTwin(node, join(root, 'twin'))
    await delay(random.between(500, 6_000))
    return twin.isRefused()
  },

  /** Clocks are an hour ahead or half an hour behind, and are set now and then. */
  clocks: async (world) => {
    const { random, fleet } = world
    const node = random.pick(fleet.nodes)
    if (node && random.chance(0.3)) setClock(node, random.pick(clockSteps) ?? 0)
    const role = random.pick(['leader', 'follower'] as const) ?? 'leader'
    return random.chance(0.6) ? killService(world, role) : powerOff(world, role)
  },
} satisfies Record<string, ClusterStroke>

export type ClusterRowName = keyof typeof clusterRows
export const clusterRowNames = Object.keys(clusterRows) as ClusterRowName[]

/** A node that serves: the leader, or any other. */
async function aNode({ fleet, random }: ClusterWorld, role: Role): Promise<ChaosNode | undefined> {
  for (const giveUpAt = Date.now() + nobodyMs; Date.now() < giveUpAt; await delay(20)) {
    const leader = fleet.leader()
    if (!leader) continue
    const others = fleet.nodes.filter((node) => node !== leader && node.service.url())
    const node = role === 'leader' ? leader : random.pick(others)
    if (node) return node
  }
  return undefined
}

/** Mostly started again at once, as by a service manager. */
async function killService(world: ClusterWorld, role: Role): Promise<boolean> {
  const { random } = world
  await delay(random.between(0, 1_500))
  const node = await aNode(world, role)
  const victim = node?.service.identity()
  if (!node || !victim) return false
  if (random.chance(0.4)) node.service.restUntil(delay(random.between(0, 8_000)))
  const ended = node.service.expectEnd()
  const hit = signal(victim, 'SIGKILL')
  await ended
  return hit
}

/** All processes at once; it is started again before it counts as lost, or after. */
async function powerOff(world: ClusterWorld, role: Role): Promise<boolean> {
  const { random, kill, onPowerOff } = world
  await delay(random.between(0, 2_500))
  const node = await aNode(world, role)
  const service = node?.service.identity()
  if (!node || !service) return false
  const until = delay(random.chance(0.2) ? 0 : random.between(1_000, 14_000))
  node.service.restUntil(until)
  const ended = node.service.expectEnd()
  onPowerOff(node)
  const { generations, shims } = castOf(node.dataDir)
  const hit = signal(service, 'SIGKILL')
  for (const victim of [...generations, ...shims]) kill(victim)
  for (const victim of machineOf(node)) signal(victim, 'SIGKILL')
  await ended
  // Sometimes the next fault comes while it is off.
  if (random.chance(0.7)) await until
  return hit
}

async function killPart(world: ClusterWorld, role: Role, part: Part): Promise<boolean> {
  const { random, kill } = world
  const node = await aNode(world, role)
  if (!node || !(await someone(node, (cast) => cast[part]))) return false
  await delay(random.between(0, 400))
  const victim = random.pick(castOf(node.dataDir)[part])
  if (!victim || !kill(victim)) return false
  await delay(random.between(0, 200))
  return true
}

async function someone(node: ChaosNode, who: (cast: Cast) => readonly Victim[]): Promise<boolean> {
  for (const giveUpAt = Date.now() + nobodyMs; Date.now() < giveUpAt; await delay(20)) {
    if (who(castOf(node.dataDir)).length > 0) return true
  }
  return false
}

/** An actor that has fallen often waits long, so a service with a past is exchanged for a new one. */
async function crashGpuActor(world: ClusterWorld, role: Role): Promise<boolean> {
  const { random } = world
  const node = await aNode(world, role)
  if (!node) return false
  const { service, dataDir, name } = node
  const url = await service.listening()
  await delay(random.between(0, 500))
  const response = await fetch(`${url}/nodes`, { signal: AbortSignal.timeout(5_000) }).catch(
    () => undefined,
  )
  if (!response?.ok) return false
  const { nodes } = (await response.json()) as { nodes: { name: string; gpus: number[] }[] }
  const gpu = random.pick(nodes.find((one) => one.name === name)?.gpus ?? [])
  if (gpu === undefined) return false
  const actor = `gpu-${gpu}`
  const before = service.crashes().filter((crash) => crash.actor === actor)
  if (before.length >= random.between(1, 3)) {
    await service.stop()
    await service.listening()
    return false
  }
  await delay(Math.max(0, (before.at(-1)?.againAt ?? 0) - Date.now()) + random.between(20, 400))
  writeFileSync(join(dataDir, 'crash'), actor)
  return service.crash(actor, (pid) => process.kill(pid, 'SIGUSR2'))
}

/** Mostly for longer than a leader may stand still. */
async function freezeOne(world: ClusterWorld, role: Role): Promise<boolean> {
  const { random } = world
  await delay(random.between(0, 1_500))
  const node = await aNode(world, role)
  if (!node) return false
  const what = random.chance(0.7) ? 'service' : 'machine'
  const ms = random.chance(0.2) ? random.between(100, 3_000) : random.between(3_500, 12_000)
  return freeze(node, what, () => delay(ms))
}

async function partition(
  world: ClusterWorld,
  linkOf: (node: ChaosNode) => ChaosNode['door'],
): Promise<boolean> {
  const { random } = world
  await delay(random.between(0, 1_500))
  const node = await aNode(world, random.chance(0.5) ? 'leader' : 'follower')
  if (!node) return false
  const link = linkOf(node)
  link.cut(random.chance(0.5) ? 'broken' : 'silent')
  await delay(random.chance(0.3) ? random.between(100, 2_000) : random.between(3_000, 12_000))
  link.heal()
  return true
}

const upSince = ({ service }: ChaosNode): number => Number(service.identity()?.started ?? Infinity)
