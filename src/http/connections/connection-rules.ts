/** Rules for connections: which of them have to go, when they are too many, too slow or too large. Pure. */
import type { CutReason } from '../../domain/observation.ts'

/** A connection, as far as the rules need to know it. Times are of a monotonic clock, in milliseconds. */
export type Connection = Readonly<{
  /** Where it comes from; an IPv6 network (/64) is one address. */
  address: string
  /** A request is in progress: received in part, being handled, or being answered. */
  isBusy: boolean
  /** Since when it has been busy, or idle. */
  since: number
  /** Bytes of responses that the peer has not taken, and of requests that are not complete or wait for their turn. */
  heldBytes: number
  /** The last time that some of them moved, or that there were none. */
  progressAt: number
}>

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
 * a stalled one, or, if another address has at least twice as many, its longest request. `undefined`: nothing may be
 * cut, so the new one is refused.
 */
export function findRoom<C extends Connection>(
  all: readonly C[],
  address: string,
  { maxPerAddress }: Pick<ConnectionLimits, 'maxPerAddress'>,
  now: number,
): C | undefined {
  const shares = sharesOf(all)
  const own = shares.get(address)
  const ownCount = own?.count ?? 0
  if (ownCount >= maxPerAddress) {
    return own?.oldestIdle ?? longestStalled(all, now, address)
  }
  const largestIdle = largest(shares, ({ oldestIdle }) => oldestIdle !== undefined)
  if (largestIdle) return largestIdle[1].oldestIdle
  const stalled = longestStalled(all, now)
  if (stalled) return stalled
  const [most, { count }] = largest(shares, () => true) ?? ['', { count: 0 }]
  return count >= 2 * (ownCount + 1) ? longestBusy(all, now, most) : undefined
}

type Share<C> = { count: number; oldestIdle: C | undefined }

/** What each address has. In one pass: an attack has it done for each connection that it opens. */
function sharesOf<C extends Connection>(all: readonly C[]): ReadonlyMap<string, Share<C>> {
  const shares = new Map<string, Share<C>>()
  for (const one of all) {
    const share = shares.get(one.address) ?? { count: 0, oldestIdle: undefined }
    if (share.count === 0) shares.set(one.address, share)
    share.count += 1
    if (one.isBusy) continue
    if (!share.oldestIdle || one.since < share.oldestIdle.since) share.oldestIdle = one
  }
  return shares
}

function largest<C>(
  shares: ReadonlyMap<string, Share<C>>,
  isEligible: (share: Share<C>) => boolean,
): readonly [string, Share<C>] | undefined {
  let found: readonly [string, Share<C>] | undefined
  for (const entry of shares) {
    if (isEligible(entry[1]) && (!found || entry[1].count > found[1].count)) found = entry
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
  connections: readonly C[],
  now: number,
  address?: string,
): C | undefined =>
  earliest(
    connections.filter(
      (one) =>
        (address === undefined || one.address === address) &&
        one.heldBytes > 0 &&
        now - one.progressAt >= minTakeoverMs,
    ),
    ({ progressAt }) => progressAt,
  )

const longestBusy = <C extends Connection>(
  connections: readonly C[],
  now: number,
  address: string,
): C | undefined =>
  earliest(
    connections.filter((one) => one.address === address && now - one.since >= minTakeoverMs),
    ({ since }) => since,
  )

function earliest<C>(connections: readonly C[], timeOf: (one: C) => number): C | undefined {
  let found: C | undefined
  for (const one of connections) if (!found || timeOf(one) < timeOf(found)) found = one
  return found
}
