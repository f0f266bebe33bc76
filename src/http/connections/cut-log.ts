import type { Logger } from '../../domain/log.ts'
import type { CutReason } from '../../domain/observation.ts'

/** An attack of thousands of connections writes a line a minute for each reason. */
const minBetweenMs = 60_000

/** Names for the log: those of most connections tell enough. */
const maxAddresses = 5

/** Reports connections that the service closed: the first at once, the others together. */
export function createCutLog(log: Pick<Logger, 'warn'>) {
  const reasons = new Map<CutReason, { reportedAt: number; addresses: Map<string, number> }>()

  return { note, report, hasMore }

  function note(reason: CutReason, address: string, now: number): void {
    const known = reasons.get(reason) ?? { reportedAt: -Infinity, addresses: new Map() }
    reasons.set(reason, known)
    known.addresses.set(address, (known.addresses.get(address) ?? 0) + 1)
    report(now)
  }

  /** Some are not reported yet. */
  function hasMore(): boolean {
    return [...reasons.values()].some(({ addresses }) => addresses.size > 0)
  }

  /** To be called now and then: the last ones of many would never be reported otherwise. */
  function report(now: number): void {
    for (const [reason, known] of reasons) {
      if (known.addresses.size === 0 || now - known.reportedAt < minBetweenMs) continue
      const most = [...known.addresses].toSorted(([, a], [, b]) => b - a)
      const count = most.reduce((sum, [, connections]) => sum + connections, 0)
      const addresses = Object.fromEntries(most.slice(0, maxAddresses))
      log.warn({ reason, count, addresses }, 'connections closed')
      known.reportedAt = now
      known.addresses.clear()
    }
  }
}
