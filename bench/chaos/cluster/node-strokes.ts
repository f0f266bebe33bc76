/** Faults of one node. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import {
  type Cast,
  castOf,
  forkServerOf,
  type Identity,
  signal,
  type Victim,
} from '../processes.ts'
import {
  alone,
  type ClusterStroke,
  type ClusterWorld,
  isFree,
  type NodeStroke,
  nobodyMs,
  type Role,
  strikeNode,
} from './cluster-world.ts'
import { type ChaosNode, freeze, machineOf, setClock } from './nodes.ts'
import { startTwin } from './twin.ts'

/** Faults that strike the leader or another node, by kind. */
export const kinds = {
  service: { waitMs: 1_500, stroke: killService },
  machine: { waitMs: 2_500, stroke: powerOff },
  shim: { waitMs: 0, stroke: killPart('shims') },
  generation: { waitMs: 0, stroke: killPart('generations') },
  'fork-server': { waitMs: 0, stroke: killForkServer },
  'gpu-actor': { waitMs: 0, stroke: crashGpuActor },
  freeze: { waitMs: 1_500, stroke: freezeOne },
} satisfies Record<string, { waitMs: number; stroke: NodeStroke }>

export type Kind = keyof typeof kinds
export const kindNames = Object.keys(kinds) as Kind[]

/** `waitMs`: the longest wait before it. */
export async function strike(world: ClusterWorld, role: Role, kind: Kind): Promise<boolean> {
  const { waitMs, stroke } = kinds[kind]
  await delay(world.random.between(0, waitMs))
  return strikeNode(world, role, kind, stroke)
}

/** Any kind of fault, of any node or of this role. */
export const strikeAnyhow = (world: ClusterWorld, role: Role): Promise<boolean> =>
  strike(world, role, world.random.pick(kindNames) ?? 'service')

/** Mostly started again at once, as by a service manager. */
async function killService({ random }: ClusterWorld, { service }: ChaosNode): Promise<boolean> {
  const victim = service.identity()
  if (!victim) return false
  if (random.chance(0.4)) service.restUntil(delay(random.between(0, 8_000)))
  const ended = service.expectEnd()
  const hit = signal(victim, 'SIGKILL')
  await ended
  return hit
}

/** All processes at once; it is started again before it counts as lost, or after. */
async function powerOff(world: ClusterWorld, node: ChaosNode): Promise<boolean> {
  const { random, kill, onPowerOff } = world
  const service = node.service.identity()
  if (!service) return false
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

function killPart(part: 'shims' | 'generations'): NodeStroke {
  return async ({ random, kill }, { dataDir }) => {
    if (!(await someone(dataDir, (cast) => cast[part]))) return false
    await delay(random.between(0, 400))
    const victim = random.pick(castOf(dataDir)[part])
    if (!victim || !kill(victim)) return false
    await delay(random.between(0, 200))
    return true
  }
}

/** Also while something is just being started by it. */
async function killForkServer(
  { random }: ClusterWorld,
  { dataDir, service }: ChaosNode,
): Promise<boolean> {
  await someone(dataDir, ({ shims, conversions }) => [...shims, ...conversions])
  await delay(random.between(0, 400))
  const server = await aForkServer(() => service.identity())
  return server !== undefined && signal(server, 'SIGKILL')
}

async function aForkServer(service: () => Identity | undefined): Promise<Identity | undefined> {
  for (const giveUpAt = Date.now() + nobodyMs; Date.now() < giveUpAt; await delay(20)) {
    const parent = service()
    const server = parent && forkServerOf(parent)
    if (server) return server
  }
  return undefined
}

async function someone(dataDir: string, who: (cast: Cast) => readonly Victim[]): Promise<boolean> {
  for (const giveUpAt = Date.now() + nobodyMs; Date.now() < giveUpAt; await delay(50)) {
    if (who(castOf(dataDir)).length > 0) return true
  }
  return false
}

/** An actor that has fallen often waits long, so a service with a past is exchanged for a new one. */
async function crashGpuActor(
  { random }: ClusterWorld,
  { service, dataDir, name }: ChaosNode,
): Promise<boolean> {
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
function freezeOne({ random }: ClusterWorld, node: ChaosNode): Promise<boolean> {
  const what = random.chance(0.7) ? 'service' : 'machine'
  const ms = random.chance(0.2) ? random.between(100, 3_000) : random.between(3_500, 12_000)
  return freeze(node, what, () => delay(ms))
}

/** Cuts the network between this node and PostgreSQL, or the other nodes. */
export function partition(
  kind: string,
  linkOf: (node: ChaosNode) => ChaosNode['door'],
): ClusterStroke {
  return async (world) => {
    const { random } = world
    await delay(random.between(0, 1_500))
    const role = random.chance(0.5) ? 'leader' : 'follower'
    return strikeNode(world, role, kind, async (_, node) => {
      const link = linkOf(node)
      link.cut(random.chance(0.5) ? 'broken' : 'silent')
      await delay(random.chance(0.3) ? random.between(100, 2_000) : random.between(3_000, 12_000))
      link.heal()
      return true
    })
  }
}

/** Another machine with the name of a node that is at work. */
export const nameTwice: ClusterStroke = async (world) => {
  const { random, fleet, root } = world
  const node = random.pick(fleet.nodes.filter(isFree(world)))
  if (!node) return false
  return alone(world, node, 'same name', async () => {
    await node.service.listening()
    await using twin = startTwin(node, join(root, `twin-${node.name}`))
    await delay(random.between(500, 6_000))
    return twin.isRefused()
  })
}

const hour = 3_600_000
export const clockSteps = [0, hour, -hour] as const

export const stepClock: ClusterStroke = async (world) => {
  const { random, fleet } = world
  const node = random.pick(fleet.nodes.filter(isFree(world)))
  if (!node) return false
  return alone(world, node, 'clock', async () => {
    setClock(node, random.pick(clockSteps) ?? 0)
    await delay(random.between(0, 2_000))
    return true
  })
}
