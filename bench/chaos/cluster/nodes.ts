/** Nodes of one cluster, each a real service with a data directory and networks of its own. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { main } from '../../built.ts'
import { loopback } from '../../performance/free-port.ts'
import type { PostgresServer } from '../../postgres.ts'
import { everythingOf, type Identity, identify, signal } from '../processes.ts'
import { type KeptService, keepService, type LogLine } from '../service.ts'
import { createLink, type Link } from './link.ts'

/** A crashed leader is noticed after 3 s, a lost machine after this time. */
export const lostS = 4

/** Generations of two seconds: faults find them at work, and a cluster leaves time for other work on the machine. */
const simSpeed = '3'

export type ChaosNode = Readonly<{
  name: string
  dataDir: string
  /** Devices of its GPUs, which no other node has. */
  devices: readonly string[]
  service: KeptService
  /** Its way to PostgreSQL. */
  database: Link
  /** The way of other nodes to it. */
  door: Link
  env: NodeJS.ProcessEnv
  /** When it began to lead; undefined while it does not. */
  leadsSince(): number | undefined
  /** It stands still, so clients leave it alone. */
  stops: { isFrozen: boolean }
  /** Program of its next start. */
  version: { main: string }
  close(): void
}>

/** A node was counted as lost, as the leader said. */
export type Loss = Readonly<{ node: string; at: number }>

export type Fleet = Awaited<ReturnType<typeof startNodes>>

export async function startNodes(
  root: string,
  { count, gpus, postgres }: { count: number; gpus: number; postgres: PostgresServer },
  envOf: (dataDir: string, index: number) => NodeJS.ProcessEnv = () => ({}),
) {
  const losses: Loss[] = []
  let depositions = 0
  const databaseUrl = new URL(await postgres.createDatabase())
  const nodes: ChaosNode[] = []
  for (const [index, name] of ['a', 'b', 'c', 'd', 'e'].slice(0, count).entries()) {
    nodes.push(await start(name, index))
    // They join one after the other, so that the numbers of GPUs differ from those of devices.
    await nodes[index]?.service.listening()
  }

  return {
    nodes: nodes as readonly ChaosNode[],
    losses: losses as readonly Loss[],
    /** Processes that ended because another node leads, or has their name. */
    depositions: () => depositions,
    database: databaseUrl.pathname.slice(1),
    leader: (): ChaosNode | undefined =>
      nodes
        .filter((node) => node.leadsSince() !== undefined)
        .toSorted((a, b) => (b.leadsSince() ?? 0) - (a.leadsSince() ?? 0))[0],
    nodeOf: (device: string) => nodes.find(({ devices }) => devices.includes(device)),
  }

  async function start(name: string, index: number): Promise<ChaosNode> {
    const dataDir = join(root, name)
    mkdirSync(dataDir)
    const database = await createLink(() => Number(databaseUrl.port))
    const door = await createLink(() => portOf(service.url()))
    const through = new URL(databaseUrl)
    through.port = String(database.port)
    const first = (count - 1 - index) * gpus
    const devices = Array.from({ length: gpus }, (_, n) => String(first + n))
    let leads: { pid: number | undefined; since: number } | undefined
    const env = {
      DATABASE_URL: through.href,
      NODE_NAME: name,
      NODE_URL: `http://${loopback}:${door.port}`,
      NODE_LOST_S: String(lostS),
      GPU_IDS: devices.join(','),
      SIM_JOURNAL: join(root, 'journal'),
      SIM_SPEED: simSpeed,
      ...envOf(dataDir, index),
    }
    const version = { main }
    const onLine = ({ msg, node }: LogLine) => {
      if (msg === 'this node leads the cluster') {
        leads = { pid: service.identity()?.pid, since: Date.now() }
      }
      if (msg === 'this node leaves the cluster') depositions++
      if (msg === 'a node is lost; its jobs run elsewhere' && node) {
        losses.push({ node, at: Date.now() })
      }
    }
    const service = keepService(dataDir, gpus, env, onLine, () => version.main)
    const stops = { isFrozen: false }
    return {
      ...{ name, dataDir, devices, service, database, door, env, stops, version },
      leadsSince: () =>
        leads && service.url() && leads.pid === service.identity()?.pid ? leads.since : undefined,
      close() {
        database.close()
        door.close()
      },
    }
  }
}

/** All processes of a machine but those that have just ended. */
export const machineOf = ({ dataDir }: ChaosNode): Identity[] =>
  everythingOf(dataDir).flatMap(({ pid }) => identify(pid) ?? [])

/** Stops it, or all of its machine, for so long. */
export async function freeze(
  { service, stops, ...node }: ChaosNode,
  what: 'service' | 'machine',
  over: () => Promise<unknown>,
): Promise<boolean> {
  const own = service.identity()
  const victims = what === 'machine' ? machineOf({ service, stops, ...node }) : own ? [own] : []
  stops.isFrozen = true
  try {
    const hit = victims.map((victim) => signal(victim, 'SIGSTOP')).some(Boolean)
    await over()
    return hit
  } finally {
    for (const victim of victims) signal(victim, 'SIGCONT')
    stops.isFrozen = false
  }
}

export function setClock({ dataDir }: Pick<ChaosNode, 'dataDir'>, byMs: number): void {
  writeFileSync(clockOf(dataDir), String(byMs))
}

export const clockOf = (dataDir: string): string => join(dataDir, 'clock')

const portOf = (url: string | undefined): number | undefined =>
  url === undefined ? undefined : Number(new URL(url).port)
