/** The leader's watch over all nodes. It also deletes the mail that those have left behind which are gone. */
import { messageOf } from '../domain/errors.ts'
import type { Logger } from '../domain/log.ts'
import type { Connection } from './database.ts'
import { deleteUnreadable } from './inbox.ts'
import {
  type ClusterNode,
  forgetSights,
  type MemberEvent,
  type Members,
  type MembersStep,
  markLost,
  observeNodes,
} from './member-rules.ts'
import { defaultNodeBeatMs, defaultNodeLostMs } from './membership.ts'
import { readNodes } from './node-table.ts'
import { repeat } from './repeat.ts'

export type MemberWatchOptions = Readonly<{
  connection: Connection
  /** Name of the node that leads, which does not watch itself. */
  me: string
  /** Term in which it leads; a later one counts no node as lost by this watch. */
  term: number
  onEvent(event: MemberEvent): void
  log: Logger
  lookMs?: number
  /** Time without a beat after which a node is lost, and after which one is that was stopped. */
  lostMs?: number
  leftMs?: number
}>

export type MemberWatch = {
  /** All nodes as of the last look. */
  members(): Members
  stop(): Promise<void>
}

/** Its generations continue meanwhile: an upgrade, or a restart of the machine, takes no longer. */
const defaultLeftMs = 5 * 60_000

/** The first look reports each node: `joined`, `left` or `lost`. */
export function watchMembers({
  connection,
  me,
  term,
  onEvent,
  log,
  lookMs = defaultNodeBeatMs,
  lostMs = defaultNodeLostMs,
  leftMs = Math.max(lostMs, defaultLeftMs),
}: MemberWatchOptions): MemberWatch {
  let members: Members = new Map()
  const looks = repeat(lookMs, look)
  return { members: () => members, stop: looks.stop }

  async function look(): Promise<void> {
    const events: MemberEvent[] = []
    const take = (step: MembersStep) => {
      members = step.members
      events.push(...step.events)
    }
    try {
      const { entries, ...times } = await readNodes(connection)
      const nodes = entries.map(({ node }) => node)
      const step = observeNodes(members, nodes, times, { me, lostMs, leftMs })
      take(step)
      for (const suspect of step.suspects) {
        if (await isMarkedLost(suspect)) take(markLost(members, suspect))
      }
      if (events.some(({ type }) => type !== 'changed')) await deleteUnreadable(connection)
    } catch (error) {
      members = forgetSights(members)
      log.debug({ error: messageOf(error) }, 'the nodes of the cluster could not be read')
    }
    for (const event of events) onEvent(event)
  }

  /** A node that beats in this moment keeps its session, and one that was marked notices it. */
  async function isMarkedLost({ name, session, beat }: ClusterNode): Promise<boolean> {
    const { count } = await connection.query(
      `update node set session = session + 1, state = case state when 'present' then 'lost' else state end
       where name = $1 and session = $2 and beat = $3 and exists (select 1 from leader where term = $4)`,
      [name, session, beat, term],
    )
    return count > 0
  }
}
