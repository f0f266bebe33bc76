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

/** The connections of one address. The first of `idle` has been idle longest. */
export type Share<C> = Readonly<{ all: ReadonlySet<C>; idle: ReadonlySet<C> }>

/** All connections by address, kept up to date: an attack asks who has the most with each connection that it opens. */
export class Crowd<C extends Connection> {
  readonly #shares = new Map<string, { all: Set<C>; idle: Set<C> }>()
  #size = 0

  get size(): number {
    return this.#size
  }

  *[Symbol.iterator](): Generator<C> {
    for (const { all } of this.#shares.values()) yield* all
  }

  get shares(): ReadonlyMap<string, Share<C>> {
    return this.#shares
  }

  countOf(address: string): number {
    return this.#shares.get(address)?.all.size ?? 0
  }

  add(one: C): void {
    const share = this.#shares.get(one.address) ?? { all: new Set(), idle: new Set() }
    if (share.all.size === 0) this.#shares.set(one.address, share)
    share.all.add(one)
    this.#size += 1
    this.becameIdleOrBusy(one)
  }

  /** To be called whenever `isBusy` has changed. */
  becameIdleOrBusy(one: C): void {
    const share = this.#shares.get(one.address)
    if (!share?.all.has(one)) return
    if (one.isBusy) share.idle.delete(one)
    else share.idle.add(one)
  }

  /** False: it is not here. */
  delete(one: C): boolean {
    const share = this.#shares.get(one.address)
    if (!share?.all.delete(one)) return false
    share.idle.delete(one)
    this.#size -= 1
    if (share.all.size === 0) this.#shares.delete(one.address)
    return true
  }
}
