/**
 * Which node leads. Every change of leader is a new term, and the leader's commits check the term (the fence), so
 * that a leader that was replaced without its knowledge can do no harm.
 */
import { messageOf } from '../domain/errors.ts'
import type { Logger } from '../domain/log.ts'
import type { Connection } from './database.ts'
import { type DatabaseClock, databaseMs } from './database-clock.ts'
import {
  isCertain,
  type LeaderRow,
  mayClaim,
  type NodeIdentity,
  watchLeader,
} from './election-rules.ts'
import { repeat } from './repeat.ts'
import type { Look, Watch } from './watch.ts'

/** `session`: of the node's row, where its mail goes to; absent while the node has none. */
export type Leader = Readonly<{ term: number; node: string; session?: number }>

/** `isCertain`: the database has confirmed it recently enough that nobody else can have been elected. */
export type Standing = Readonly<
  | { role: 'leads'; term: number; isCertain: boolean }
  /** `leader`: the last one that was seen. */
  | { role: 'follows'; leader?: Leader; isCertain: boolean }
  | { role: 'ended' }
>

export type ElectionObserver = {
  /** This node leads from now on. */
  leads(term: number): void
  /** Another node leads, or it has another session now. Never after `leads`. */
  follows(leader: Leader): void
  /** Another node has been elected although this one did not resign: the process ends. */
  deposed(why: string): void
}

export type ElectionOptions = Readonly<{
  connection: Connection
  me: NodeIdentity
  clock: DatabaseClock
  observer: ElectionObserver
  /** Asked before each claim: whether this node could lead. Absent: it could. */
  canLead?: () => Promise<boolean>
  log: Logger
  /** Time between two beats of the leader, and between two looks of the others. */
  beatMs?: number
  /** Time without a beat after which the others elect. */
  lostMs?: number
  monotonicNow?: () => number
}>

export type Election = {
  standing(): Standing
  /** A commit of this leader began then, by the monotonic clock, and was stored: beats are left out for commits. */
  confirm(beganAt: number): void
  /** Stops taking part. A leader leaves its place, so that the others need not wait. */
  resign(): Promise<void>
}

export const defaultBeatMs = 500
export const defaultLeaderLostMs = 3_000

export function startElection({
  connection: { query },
  me,
  clock,
  observer,
  canLead = async () => true,
  log,
  beatMs = defaultBeatMs,
  lostMs = defaultLeaderLostMs,
  monotonicNow = () => performance.now(),
}: ElectionOptions): Election {
  let term: number | undefined
  let leader: Leader | undefined
  let hasEnded = false
  let seen: Watch | undefined
  /** Start of the last beat or look that succeeded. */
  let confirmedAt: number | undefined
  let isReachable = true
  const beats = repeat(beatMs, beat)

  return {
    standing() {
      if (hasEnded) return { role: 'ended' }
      const certain = isCertain(confirmedAt, monotonicNow(), lostMs)
      if (term !== undefined) return { role: 'leads', term, isCertain: certain }
      return { role: 'follows', ...(leader && { leader }), isCertain: certain }
    },
    confirm(beganAt) {
      if (term !== undefined) confirmedAt = Math.max(beganAt, confirmedAt ?? beganAt)
    },
    async resign() {
      await beats.stop()
      if (hasEnded) return
      hasEnded = true
      if (term === undefined) return
      await query(`update leader set node = '', home = '', beat = beat + 1 where term = $1`, [term])
    },
  }

  async function beat(): Promise<void> {
    if (hasEnded) return
    let news: News | undefined
    try {
      const { look, ...result } = await (term === undefined ? lookOrClaim() : renew(term))
      news = result.news
      if (look) confirmedAt = Math.max(look.askedAt, confirmedAt ?? look.askedAt)
      if (!isReachable) log.info({}, 'the database of the cluster answers again')
      isReachable = true
    } catch (error) {
      seen = undefined
      if (isReachable) log.warn({ error: messageOf(error) }, 'the database of the cluster fails')
      isReachable = false
    }
    news?.()
  }

  /**
   * Waits for no commit of this leader, which is a beat too: beats that wait would pile up at the server. A beat that was
   * left out for that confirms nothing.
   */
  async function renew(mine: number): Promise<Result> {
    const { rows, ...look } = await query<{ leads: boolean; hasBeaten: boolean; ms: number }>(
      `with free as (select term from leader where term = $1 for update skip locked),
         beaten as (update leader set beat = beat + 1 from free where leader.term = free.term returning 1)
       select exists (select from leader where term = $1) as leads,
         exists (select from beaten) as "hasBeaten", ${databaseMs} as ms`,
      [mine],
    )
    const [row] = rows
    if (row) clock.observe(row.ms, look)
    if (!row?.leads) return { news: await depose(mine) }
    return row.hasBeaten ? { look } : {}
  }

  async function depose(mine: number): Promise<News> {
    hasEnded = true
    const next = await read().catch(() => undefined)
    const who = next ? `: ${next.row.node || 'no node'} leads in term ${next.row.term}` : ''
    return () => observer.deposed(`term ${mine} of this node has ended${who}`)
  }

  async function lookOrClaim(): Promise<Result> {
    const { row, session, look } = await read()
    seen = watchLeader(seen, row, look, lostMs)
    const claims = mayClaim(me, row, seen, lostMs) && (await canLead())
    const news = claims ? await claim(row) : follow(row, session)
    return { look, ...(news && { news }) }
  }

  function follow({ node, term }: LeaderRow, session: number | undefined): News | undefined {
    const isKnown = leader?.term === term && leader.node === node && leader.session === session
    if (isKnown) return undefined
    const now = { term, node, ...(session !== undefined && { session }) }
    leader = now
    return () => observer.follows(now)
  }

  /**
   * Of all nodes that claim, one succeeds, and none while a transaction has passed the fence. The next look finds a claim
   * whose answer was lost.
   */
  async function claim(row: LeaderRow): Promise<News | undefined> {
    const { rows } = await query<{ term: string }>(
      `with free as (select term from leader where term = $3 and beat = $4 for update skip locked)
       update leader set term = leader.term + 1, node = $1, home = $2, beat = 0, written = 0
       from free where leader.term = free.term and leader.beat = $4 returning leader.term`,
      [me.name, me.home, row.term, row.beat],
    )
    const [won] = rows
    if (!won) return undefined
    const mine = Number(won.term)
    term = mine
    log.info({ term: mine, previous: row.node }, 'this node leads the cluster')
    return () => observer.leads(mine)
  }

  async function read() {
    const { rows, ...look } = await query<Record<'term' | 'node' | 'home' | 'beat', string> & Seen>(
      `select term, leader.node, leader.home, leader.beat, session, ${databaseMs} as ms
       from leader left join node on node.name = leader.node`,
    )
    const [found] = rows
    if (!found) throw new Error('the table "leader" has no row: run the migrations of this version')
    clock.observe(found.ms, look)
    const { node, home } = found
    const row: LeaderRow = { term: Number(found.term), node, home, beat: Number(found.beat) }
    return { row, session: found.session === null ? undefined : Number(found.session), look }
  }
}

/** What the observer is notified of, after the work on the database. */
type News = () => void

/** `look`: one that confirms who leads. */
type Result = Readonly<{ look?: Look; news?: News }>

type Seen = Readonly<{ session: string | null; ms: number }>
