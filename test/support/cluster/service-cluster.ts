/** Several nodes of one cluster, each a real service with a data directory of its own. */
import { onTestFinished, vi } from 'vitest'
import type { NodeJson } from '../../../src/http/views/node-view.ts'
import {
  type AtEnd,
  aDataDirectory,
  killLeftovers,
  type Service,
  startService,
} from '../service.ts'

export type ClusterNode = Service &
  Readonly<{
    name: string
    env: NodeJS.ProcessEnv
    /** Ends all processes of the machine. */
    powerOff(): Promise<void>
  }>

type NodeOptions = Readonly<{
  env?: NodeJS.ProcessEnv
  dataDir?: string
  atEnd?: AtEnd
  within?: readonly string[]
}>

/** `GPU_IDS`: one simulated GPU each. A node that stands still is lost after 4 s. */
export async function startClusterNode(
  DATABASE_URL: string,
  name: string,
  {
    env: more = {},
    atEnd = onTestFinished,
    dataDir = aDataDirectory(atEnd),
    within = [],
  }: NodeOptions = {},
): Promise<ClusterNode> {
  const env = {
    ...{ DATABASE_URL, NODE_NAME: name, NODE_LOST_S: '4' },
    ...{ GPU_IDS: '0', SIM_SPEED: '30' },
    ...more,
  }
  const service = await startService({ env, dataDir, atEnd, within })
  return {
    ...{ ...service, name, env },
    async powerOff() {
      await service.stop('SIGKILL')
      killLeftovers(dataDir)
    },
  }
}

/** The first one leads. */
export async function startCluster(
  url: string,
  count: number,
  env: NodeJS.ProcessEnv = {},
): Promise<ClusterNode[]> {
  const nodes: ClusterNode[] = []
  for (const name of ['a', 'b', 'c', 'd', 'e'].slice(0, count)) {
    const node = await startClusterNode(url, name, { env })
    nodes.push(node)
    if (nodes.length === 1) await untilLeads(node)
  }
  await untilPresent(nodes)
  return nodes
}

export const untilLeads = (node: ClusterNode): Promise<void> =>
  vi.waitFor(
    () => {
      if (node.log('this node leads the cluster').length === 0) throw new Error('it does not lead')
    },
    { timeout: 20_000, interval: 50 },
  )

/** Nodes as this one lists them. */
export const nodesOf = async (node: ClusterNode): Promise<readonly NodeJson[]> =>
  (await node.json<{ nodes: NodeJson[] }>('/nodes')).nodes

/** Resolves when all of them are there, with actors on all of their GPUs. */
export async function untilPresent(nodes: readonly ClusterNode[]): Promise<void> {
  const [any] = nodes
  if (!any) return
  await vi.waitFor(
    async () => {
      const { gpus } = await any.json<{ gpus: { state: string; node: string }[] }>('/gpus')
      const isThere = nodes.every(({ name }) =>
        gpus.some(({ node, state }) => node === name && state !== 'down'),
      )
      if (!isThere) throw new Error(`not all are there: ${JSON.stringify(gpus)}`)
    },
    { timeout: 30_000, interval: 100 },
  )
}

/** The one of these that leads now, as another one sees it. */
export async function leaderOf(nodes: readonly ClusterNode[]): Promise<ClusterNode> {
  return await vi.waitFor(
    async () => {
      for (const node of nodes) {
        const listed = await nodesOf(node)
        const leader = listed.find(({ role }) => role === 'leader')
        const found = nodes.find(({ name }) => name === leader?.name)
        if (found) return found
      }
      throw new Error('no node leads')
    },
    { timeout: 30_000, interval: 100 },
  )
}
