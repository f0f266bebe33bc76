/** The URL of the node that leads, for requests that are forwarded to it. */
import type { Connection } from '../../cluster/database.ts'
import type { Leader } from '../../cluster/election.ts'
import { listNodes } from '../../cluster/node-table.ts'
import type { LeaderPort } from '../../http/forwarding/leader-watch.ts'

/** The row of the leader could not be read. */
const retryMs = 250

export type KnownLeader = LeaderPort &
  Readonly<{
    follow(leader: Leader): void
    /** This node leads: requests that wait for a leader are forwarded to itself. */
    lead(url: string, term: number): void
    stop(): void
  }>

export function createKnownLeader(connection: Connection): KnownLeader {
  const listeners = new Set<() => void>()
  let known: Readonly<{ url: string; term: number }> | undefined
  let followed: Leader | undefined

  return {
    leader: () => known,
    onLeaderChange(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    follow(leader) {
      followed = leader
      become(undefined)
      if (leader.node !== '') void lookUp(leader)
    },
    lead(url, term) {
      followed = undefined
      become({ url, term })
    },
    stop() {
      followed = undefined
      become(undefined)
    },
  }

  function become(next: typeof known): void {
    known = next
    for (const listener of [...listeners]) listener()
  }

  async function lookUp(leader: Leader): Promise<void> {
    if (followed !== leader) return
    const nodes = await listNodes(connection).catch(() => [])
    if (followed !== leader) return
    const node = nodes.find(({ name }) => name === leader.node)
    if (node) become({ url: node.url, term: leader.term })
    else setTimeout(() => void lookUp(leader), retryMs).unref()
  }
}
