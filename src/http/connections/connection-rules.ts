/** Rules for connections: which of them have to go, when they are too many, too slow or too large. Pure. */
import type { CutReason } from '../../domain/observation.ts'
import type { Connection, Crowd, Share } from './crowd.ts'

export type ConnectionLimits = Readonly<{
  /** All together; each costs a descriptor and some 25 KB. */
  maxConnections: number
  /** Of one address, so that no single one can hold them all. */
  maxPerAddress: number
  /** Without a byte moved for so long, a connection that holds some is cut. */
  maxStallMs: number
  /** All together may hold so much in memory; beyond, the largest that do not move are cut. */
  maxHeldBytes: number
}>

/** Beyond so many times `maxHeldBytes`, the largest are cut even if they move. */
const movingFactor = 2

/** A connection that has been stalled or busy for so long may be cut for others. A client that is cut soon comes back soon. */
const minTakeoverMs = 5_000

export type Cut<C> = Readonly<{ connection: C; reason: CutReason }>

/**
 * What a new connection from `address` costs when it would be one too many: an idle one of those that have the most,
 * a stalled one, or, if another address has at least twice as many, its longest request. Connections of other nodes
 * come after all others of their kind. `undefined`: nothing may be cut, so the new one is refused.
 */
export function findRoom<C extends Connection>(
  crowd: Crowd<C>,
  address: string,
  { maxPerAddress }: Pick<ConnectionLimits, 'maxPerAddress'>,
  now: number,
): C | undefined {
  const own = crowd.shares.get(address)
  const ownCount = crowd.countOf(address)
  if (own && ownCount >= maxPerAddress) {
    return oldestIdle(own) ?? longestStalled(own.all, now)
  }
  const shares = [...crowd.shares.values()]
  const groups = [shares.filter(({ isPeer }) => !isPeer), shares.filter(({ isPeer }) => isPeer)]
  for (const group of groups) {
    const largestIdle = largest(group, ({ idle }) => idle.size > 0)
    if (largestIdle) return oldestIdle(largestIdle)
    const stalled = longestStalled(allOf(group), now)
    if (stalled) return stalled
  }
  for (const group of groups) {
    const most = largest(group, () => true)
    const isTwice = most && most.all.size >= 2 * (ownCount + 1)
    const busy = isTwice ? longestBusy(most.all, now) : undefined
    if (busy) return busy
  }
  return undefined
}

function* allOf<C>(shares: readonly Share<C>[]): Generator<C> {
  for (const { all } of shares) yield* all
}

const oldestIdle = <C>({ idle }: Share<C>): C | undefined => idle.values().next().value

function largest<C>(
  shares: readonly Share<C>[],
  isEligible: (share: Share<C>) => boolean,
): Share<C> | undefined {
  let found: Share<C> | undefined
  for (const share of shares) {
    if (isEligible(share) && share.all.size > (found?.all.size ?? 0)) found = share
  }
  return found
}

/** Connections that have to be cut by now, and why. */
export function findOverdue<C extends Connection>(
  all: readonly C[],
  { maxStallMs, maxHeldBytes }: Pick<ConnectionLimits, 'maxStallMs' | 'maxHeldBytes'>,
  now: number,
): Cut<C>[] {
  const isStalled = (one: C) => one.heldBytes > 0 && now - one.progressAt >= maxStallMs
  const stalled = all.filter(isStalled)
  const left = all.filter((one) => one.heldBytes > 0 && !isStalled(one))
  const largest = left.toSorted((a, b) => b.heldBytes - a.heldBytes)
  let bytes = largest.reduce((sum, one) => sum + one.heldBytes, 0)
  const overBudget: C[] = []
  for (const [isPaused, max] of [
    [(one: C) => now - one.progressAt >= minTakeoverMs, maxHeldBytes],
    [() => true, movingFactor * maxHeldBytes],
  ] as const) {
    for (const one of largest) {
      if (bytes <= max) break
      if (!isPaused(one) || overBudget.includes(one)) continue
      overBudget.push(one)
      bytes -= one.heldBytes
    }
  }
  return [
    ...stalled.map((connection) => ({ connection, reason: 'stalled' as const })),
    ...overBudget.map((connection) => ({ connection, reason: 'over_budget' as const })),
  ]
}

const longestStalled = <C extends Connection>(
  connections: Iterable<C>,
  now: number,
): C | undefined =>
  earliest(
    connections,
    ({ heldBytes, progressAt }) => heldBytes > 0 && now - progressAt >= minTakeoverMs,
    ({ progressAt }) => progressAt,
  )

const longestBusy = <C extends Connection>(connections: Iterable<C>, now: number): C | undefined =>
  earliest(
    connections,
    ({ since }) => now - since >= minTakeoverMs,
    ({ since }) => since,
  )

function earliest<C>(
  connections: Iterable<C>,
  isEligible: (one: C) => boolean,
  timeOf: (one: C) => number,
): C | undefined {
  let found: C | undefined
  for (const one of connections) {
    if (isEligible(one) && (!found || timeOf(one) < timeOf(found))) found = one
  }
  return found
}
