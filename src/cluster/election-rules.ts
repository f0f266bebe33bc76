import { type Look, stillMs, type Watch, watch } from './watch.ts'

/** `home`: a random id in the data directory, by which a restarted service recognises its previous run. */
export type NodeIdentity = Readonly<{ name: string; home: string }>

/** The row by which nodes agree on a leader. Nobody leads while `node` is empty. */
export type LeaderRow = Readonly<{ term: number; node: string; home: string; beat: number }>

export const watchLeader = (
  before: Watch | undefined,
  { term, beat }: LeaderRow,
  look: Look,
  lostMs: number,
): Watch => watch(before, `${term}/${beat}`, look, lostMs)

/**
 * Whether a node that does not lead claims the lead. A row that names the node itself is of its previous run, or
 * of a claim whose answer was lost: no other process acts by it.
 */
export function mayClaim(me: NodeIdentity, row: LeaderRow, seen: Watch, lostMs: number): boolean {
  const isVacant = row.node === ''
  const isMine = row.node === me.name && row.home === me.home
  return isVacant || isMine || stillMs(seen) >= lostMs
}

/**
 * Whether a node knows who leads: since it sent its last successful beat or look, the others have not had the
 * time to elect.
 */
export const isCertain = (askedAt: number | undefined, now: number, lostMs: number): boolean =>
  askedAt !== undefined && now - askedAt < lostMs
