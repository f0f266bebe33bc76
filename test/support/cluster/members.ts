/** Members of a cluster in the process of the test. */
import { onTestFinished } from 'vitest'
import { type ClusterDatabase, openClusterDatabase } from '../../../src/cluster/database.ts'
import { readDatabaseClock } from '../../../src/cluster/database-clock.ts'
import type { NodeDescription } from '../../../src/cluster/member-rules.ts'
import { type MemberWatch, watchMembers } from '../../../src/cluster/member-watch.ts'
import { joinCluster, type Membership } from '../../../src/cluster/membership.ts'

const quiet = () => {}
export const noLog = { debug: quiet, info: quiet, warn: quiet, error: quiet }

export const aDescription: NodeDescription = {
  url: 'http://10.0.0.7:8080',
  version: '1.0.0',
  gpus: [],
  maxLoads: 1,
}

/** `limitMs`: short where the network falls silent, since each statement waits for it. */
export type MemberOptions = Readonly<{
  home?: string
  lostMs?: number
  beatMs?: number
  limitMs?: number | undefined
}>

export async function aClusterDatabase(url: string, limitMs = 1_400): Promise<ClusterDatabase> {
  const database = await openClusterDatabase({ url, limitMs })
  // Ends of connections through a silent network take their time.
  onTestFinished(() => void database.close())
  return database
}

export async function aMember(
  url: string,
  name: string,
  { home = name, lostMs = 600, beatMs = 50, limitMs }: MemberOptions = {},
) {
  const events: string[] = []
  const database = await aClusterDatabase(url, limitMs)
  const connection = database.beats
  const membership: Membership = await joinCluster({
    connection,
    me: { name, home },
    description: aDescription,
    clock: await readDatabaseClock(connection),
    observer: {
      rejoined: (session) => events.push(`rejoined as ${session}`),
      expelled: (why) => events.push(`expelled: ${why}`),
    },
    log: noLog,
    beatMs,
    lostMs,
  })
  onTestFinished(() => membership.leave().catch(() => {}))
  return { name, events, membership, database }
}

/** The watch of a leader, with its events as `type name session`. */
export function aMemberWatch(
  { beats }: ClusterDatabase,
  { term = 0, me = 'leader', lostMs = 600, leftMs = 1_200, lookMs = 50 } = {},
): MemberWatch & { events: string[] } {
  const events: string[] = []
  const members = watchMembers({
    connection: beats,
    me,
    term,
    log: noLog,
    lookMs,
    ...{ lostMs, leftMs },
    onEvent(event) {
      const { name, session } = event.node
      const suffix = event.type === 'returned' && event.wasLost ? ' after loss' : ''
      events.push(`${event.type} ${name} ${session}${suffix}`)
    },
  })
  onTestFinished(members.stop)
  return { ...members, events }
}
