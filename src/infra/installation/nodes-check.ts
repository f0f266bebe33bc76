/** Check of `wanctl doctor` for the nodes of a cluster: whether this machine reaches each at its NODE_URL. */
import * as v from 'valibot'
import type { Config } from '../../config/config.ts'
import { messageOf } from '../../domain/errors.ts'
import { type Finding, finding } from './finding.ts'
import { askService, isForbidden, isHealth, isOurs, needsToken } from './own-service.ts'

/** A node that does not answer so long cannot be forwarded to either. */
const patienceMs = 3_000

const Nodes = v.object({
  nodes: v.array(v.object({ name: v.string(), url: v.string(), state: v.string() })),
})
type Node = v.InferOutput<typeof Nodes>['nodes'][number]

/** Nothing without a cluster. */
export async function checkNodes(config: Config, env: NodeJS.ProcessEnv): Promise<Finding[]> {
  if (config.databaseUrl === undefined) return []
  const { host, port } = config
  if (!(await isOurs(config))) {
    const detail = `no service runs at ${host}:${port} that could name the nodes`
    return [finding('nodes', 'skipped', detail)]
  }
  try {
    const { status, body } = await askService(config, '/nodes', env.WAN_TOKEN || undefined)
    if (isForbidden(status)) return [finding('nodes', 'skipped', needsToken)]
    const present = v.parse(Nodes, body).nodes.filter(({ state }) => state === 'present')
    const faults = (await Promise.all(present.map(whyUnreachable))).flat()
    const names = present.map(({ name }) => name).join(', ')
    return faults.length > 0
      ? faults.map((why) => finding('nodes', 'fault', why))
      : [finding('nodes', 'ok', `reached: ${names}`)]
  } catch (error) {
    return [finding('nodes', 'skipped', `the service did not name the nodes: ${messageOf(error)}`)]
  }
}

async function whyUnreachable({ name, url }: Node): Promise<string[]> {
  const remedy = `Correct NODE_URL on "${name}", or open that port for this machine.`
  try {
    const signal = AbortSignal.timeout(patienceMs)
    const response = await fetch(new URL('/health', url), { signal })
    if (isHealth(await response.json())) return []
    return [`${url} of the node "${name}" is another service. ${remedy}`]
  } catch (error) {
    const { cause } = error as { cause?: unknown }
    const why = messageOf(cause instanceof Error ? cause : error)
    return [`the node "${name}" cannot be reached at ${url} (${why}). ${remedy}`]
  }
}
