/** A node's own row: it joins, beats, notices that it was counted as lost or replaced, and leaves. */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { messageOf } from '../domain/errors.ts'
import type { Logger } from '../domain/log.ts'
import type { Connection } from './database.ts'
import type { DatabaseClock } from './database-clock.ts'
import type { NodeIdentity } from './election-rules.ts'
import type { ClusterNode, NodeDescription } from './member-rules.ts'
import { descriptionColumns, type NodeEntry, readNodes } from './node-table.ts'
import { repeat } from './repeat.ts'
import { stillMs, type Watch, watch } from './watch.ts'

export type MembershipObserver = {
  /** It was counted as lost meanwhile, and is a member again: mail for the earlier session was dropped. */
  rejoined(session: number): void
  /** It was removed, or another process has its name: the process ends. */
  expelled(why: string): void
}

export type NameOptions = Readonly<{
  connection: Connection
  me: NodeIdentity
  clock: DatabaseClock
  log: Logger
  beatMs?: number
  /** Time without a beat after which a node counts as lost. */
  lostMs?: number
}>

export type MembershipOptions = NameOptions &
  Readonly<{
    description: NodeDescription
    observer: MembershipObserver
    /** As `awaitName` has found it. */
    place?: ClusterNode | undefined
  }>

export type Membership = {
  session(): number
  /** Its latest beat is so recent that it cannot count as lost, nor soon will. */
  isConfirmed(): boolean
  /** Written with the next beat. */
  describe(description: NodeDescription): void
  /** Stops beating, and says that it left. */
  leave(): Promise<void>
}

export const defaultNodeBeatMs = 1_000
export const defaultNodeLostMs = 10_000

/** Time for which a beat confirms a node that is lost after `lostMs`. The rest is for the work that it confirms. */
export const confirmedMs = (lostMs: number): number => lostMs / 2

/** Another machine of this name is at work, or one with a copy of this data directory. */
export class NodeNameTakenError extends Error {
  override readonly name = 'NodeNameTakenError'
}

/**
 * Resolves with the row that this node can take: at once if the name is free or was that of its previous run, otherwise
 * after its owner has stood still for `lostMs`. Undefined: there is none. Rejects with `NodeNameTakenError` when the
 * owner beats. A node of another name with the same `home` is such an owner, too. Changes nothing, and reads only columns
 * that every version has.
 */
export async function awaitName({
  connection,
  me,
  clock,
  log,
  beatMs = defaultNodeBeatMs,
  lostMs = defaultNodeLostMs,
}: NameOptions): Promise<ClusterNode | undefined> {
  let first: readonly ClusterNode[] | undefined
  let seen: Watch | undefined
  for (;;) {
    const { entries, ...look } = await readNodes(connection)
    clock.observe(look.databaseMs, look)
    const nodes = entries.map(({ node }) => node)
    const owners = nodes.filter((node) => isOwner(node, me))
    const found = nodes.find(({ name }) => name === me.name)
    if (owners.length === 0) return found
    const moving = owners.find((owner) => first?.some((one) => hasMoved(one, owner)))
    if (moving) throw moving.name === me.name ? nameTaken(moving) : homeTaken(moving)
    if (!first) {
      const urls = owners.map(({ url }) => url)
      log.warn({ node: me.name, urls }, 'waits for the name of this node')
    }
    first ??= owners
    seen = watch(seen, owners.map(keyOf).join(), look, lostMs)
    if (stillMs(seen) >= lostMs) return found
    await delay(beatMs)
  }
}

/** A node with this name or this data directory, but not both. One that is not present has ended, or is lost. */
const isOwner = ({ name, home, state }: ClusterNode, me: NodeIdentity): boolean =>
  state === 'present' && (name === me.name) !== (home === me.home)

const hasMoved = (before: ClusterNode, now: ClusterNode): boolean =>
  before.name === now.name && keyOf(before) !== keyOf(now)

/** Resolves when this node is a member, and rejects as `awaitName` does. */
export async function joinCluster(options: MembershipOptions): Promise<Membership> {
  const { connection, me, description, observer, log, beatMs = defaultNodeBeatMs } = options
  const { lostMs = defaultNodeLostMs } = options
  const { query } = connection
  const run = randomUUID()
  let current = description
  let isWritten = true
  let hasEnded = false
  /** Start of the latest beat that succeeded. */
  let confirmedAt = Number.NEGATIVE_INFINITY
  let session = await join()
  let reported = session
  const beats = repeat(beatMs, beat)

  return {
    session: () => session,
    isConfirmed: () => performance.now() - confirmedAt < confirmedMs(lostMs),
    describe(next) {
      current = next
      isWritten = false
    },
    async leave() {
      await beats.stop()
      if (hasEnded) return
      hasEnded = true
      await query(`update node set state = 'left' where ${isMine}`, [me.name, run, session])
    },
  }

  async function join(): Promise<number> {
    for (let { place } = options; ; place = undefined) {
      const found = place ?? (await awaitName(options))
      const joined = await (found ? take(found) : insert())
      if (joined !== undefined) return joined
      await delay(beatMs)
    }
  }

  /**
   * A node of this name may have been removed. Other nodes remember its last session and send nothing to earlier ones,
   * so the first session is the time: fewer sessions begin than milliseconds pass.
   */
  async function insert(): Promise<number | undefined> {
    const { rows } = await query<{ session: string }>(
      `insert into node (name, home, run, session, state, beat, url, version, gpus, max_loads)
       values ($1, $2, $3, floor(extract(epoch from clock_timestamp()) * 1000)::bigint, 'present', 0, $4, $5, $6, $7)
       on conflict do nothing returning session`,
      [me.name, me.home, run, ...descriptionColumns(current)],
    )
    return sessionIn(rows)
  }

  async function take(found: ClusterNode): Promise<number | undefined> {
    const { rows } = await query<{ session: string }>(
      `update node set home = $2, run = $3, url = $4, version = $5, gpus = $6, max_loads = $7,
         session = session + 1, state = 'present', beat = beat + 1
       where name = $1 and session = $8 and beat = $9 returning session`,
      [me.name, me.home, run, ...descriptionColumns(current), found.session, found.beat],
    )
    return sessionIn(rows)
  }

  async function beat(): Promise<void> {
    if (hasEnded) return
    let news: (() => void) | undefined
    const askedAt = performance.now()
    try {
      const isKept = isWritten ? await renew() : await rewrite()
      if (!isKept) news = await findOut()
      else if (session !== reported) news = regained()
      if (isKept) confirmedAt = askedAt
    } catch (error) {
      log.debug({ error: messageOf(error) }, 'this node could not beat')
    }
    news?.()
  }

  async function renew(): Promise<boolean> {
    const { count } = await query(
      `update node set beat = beat + 1 where ${isMine} and state = 'present'`,
      [me.name, run, session],
    )
    return count > 0
  }

  async function rewrite(): Promise<boolean> {
    const written = current
    const { count } = await query(
      `update node set url = $4, version = $5, gpus = $6, max_loads = $7,
         state = 'present', beat = beat + 1 where ${isMine}`,
      [me.name, run, session, ...descriptionColumns(written)],
    )
    isWritten = written === current
    return count > 0
  }

  /** Why the row is not that of this session any more. */
  async function findOut(): Promise<(() => void) | undefined> {
    const [entry] = (await readNodes(connection, me.name)).entries
    if (entry?.run !== run) {
      hasEnded = true
      return () => observer.expelled(expulsion(me, entry))
    }
    session = entry.node.session
    return (await rewrite()) ? regained() : undefined
  }

  function regained(): () => void {
    const now = session
    reported = now
    log.warn({ session: now }, 'this node was counted as lost, and is a member again')
    return () => observer.rejoined(now)
  }
}

/** The row belongs to this process and this session. */
const isMine = 'name = $1 and run = $2 and session = $3'

const keyOf = ({ session, beat }: ClusterNode): string => `${session}/${beat}`

const sessionIn = ([row]: readonly { session: string }[]): number | undefined =>
  row && Number(row.session)

const nameTaken = ({ name, url }: ClusterNode): NodeNameTakenError =>
  new NodeNameTakenError(
    `another machine of this cluster is called "${name}" and works at ${url}. Give each machine a NODE_NAME of ` +
      'its own. If this one replaces that one, stop that one first.',
  )

const homeTaken = ({ name, url }: ClusterNode): NodeNameTakenError =>
  new NodeNameTakenError(
    `the node "${name}" at ${url} works with a copy of this data directory. Start this machine with an empty DATA_DIR. ` +
      'If it was renamed, stop the service with the former name first.',
  )

function expulsion({ name, home }: NodeIdentity, entry: NodeEntry | undefined): string {
  if (!entry)
    return `node "${name}" was removed from the cluster. It joins again when it is started.`
  return entry.node.home === home
    ? `another process joined as node "${name}" with a copy of this data directory. Give each machine its own ` +
        'NODE_NAME and DATA_DIR.'
    : `another machine (${entry.node.url}) joined as node "${name}" while this one did not beat. Give each ` +
        'machine a NODE_NAME of its own.'
}
