/** A client of a cluster: it sends each request to the next node, and repeats what was not answered. */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { JobJson } from '../../src/http/views/job-view.ts'
import type { NodeJson } from '../../src/http/views/node-view.ts'

export type DemoClient = ReturnType<typeof createClient>

/** A cluster without a leader for that long does not recover by itself. */
const maxTries = 60
const pauseMs = 500

/** `urls`: of the nodes that run now, by name. */
export function createClient(urls: ReadonlyMap<string, string>) {
  let turn = 0

  return {
    /** Returns the id, and the node that received the request. */
    async submit(body: object): Promise<Readonly<{ id: string; through: string }>> {
      const init: RequestInit = {
        method: 'POST',
        // So that a repetition makes no second job.
        headers: { 'Content-Type': 'application/json', 'Idempotency-Key': randomUUID() },
        body: JSON.stringify(body),
      }
      const { response, through } = await send('/generate', init)
      const { id } = (await response.json()) as { id: string }
      return { id, through }
    },
    async nodes(): Promise<readonly NodeJson[]> {
      return (await read<{ nodes: NodeJson[] }>('/nodes')).nodes
    },
    status: (id: string) => read<JobJson>(`/status/${id}`),
    /** Through this node. */
    async download(node: string, path: string): Promise<Buffer> {
      const response = await fetch(new URL(path, urls.get(node)))
      if (!response.ok) throw new Error(`${path} through ${node}: ${await response.text()}`)
      return Buffer.from(await response.arrayBuffer())
    },
  }

  async function read<Body>(path: string): Promise<Body> {
    const { response } = await send(path)
    return (await response.json()) as Body
  }

  async function send(path: string, init?: RequestInit) {
    let refusal = 'no node runs'
    for (let tries = 0; tries < maxTries; tries++) {
      const nodes = [...urls]
      const [through, url] = nodes[turn++ % nodes.length] ?? []
      if (through === undefined) throw new Error(refusal)
      try {
        const response = await fetch(`${url}${path}`, init)
        if (response.ok) return { response, through }
        refusal = `${path} through ${through}: ${response.status} ${await response.text()}`
        if (response.status !== 503) throw new RefusedError(refusal)
      } catch (error) {
        if (error instanceof RefusedError) throw error
        refusal = `${path} through ${through}: ${error instanceof Error ? error.message : error}`
      }
      await delay(pauseMs)
    }
    throw new Error(refusal)
  }
}

class RefusedError extends Error {}
