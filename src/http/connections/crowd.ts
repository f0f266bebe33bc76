/** A connection, as far as the rules need to know it. Times are of a monotonic clock, in milliseconds. */
export type Connection = Readonly<{
  /** Where it comes from; an IPv6 network (/64) is one address. */
  address: string
  /** A request is in progress: received in part, being handled, or being answered. */
  isBusy: boolean
  /** Another node of the cluster opened it: it has shown their key. */
  isPeer?: boolean
  /** Since when it has been busy, or idle. */
  since: number
  /** Bytes of responses that the peer has not taken, and of requests that are not complete or wait for their turn. */
  heldBytes: number
  /** The last time that some of them moved, or that there were none. */
  progressAt: number
}>

/** The connections of one address. The first of `idle` has been idle longest. */
export type Share<C> = Readonly<{ all: ReadonlySet<C>; idle: ReadonlySet<C>; isPeer: boolean }>

/** Other nodes have shares of their own: behind each of them there are many clients. */
const keyOf = ({ address, isPeer }: Connection): string => (isPeer ? `${address} peer` : address)

/** All connections by address, those of other nodes by themselves, kept up to date: an attack asks who has the most with each connection that it opens. */
export class Crowd<C extends Connection> {
  readonly #shares = new Map<string, { all: Set<C>; idle: Set<C>; isPeer: boolean }>()
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

  /** Without those of a node. */
  countOf(address: string): number {
    return this.#shares.get(address)?.all.size ?? 0
  }

  add(one: C): void {
    const key = keyOf(one)
    const isPeer = one.isPeer ?? false
    const share = this.#shares.get(key) ?? { all: new Set(), idle: new Set(), isPeer }
    if (share.all.size === 0) this.#shares.set(key, share)
    share.all.add(one)
    this.#size += 1
    this.becameIdleOrBusy(one)
  }

  /** Its share is that of a node from now on, in which no limit for one address counts. */
  becamePeer(one: C & { isPeer: boolean }): void {
    if (one.isPeer || !this.delete(one)) return
    one.isPeer = true
    this.add(one)
  }

  /** To be called whenever `isBusy` has changed. */
  becameIdleOrBusy(one: C): void {
    const share = this.#shares.get(keyOf(one))
    if (!share?.all.has(one)) return
    if (one.isBusy) share.idle.delete(one)
    else share.idle.add(one)
  }

  /** False: it is not here. */
  delete(one: C): boolean {
    const key = keyOf(one)
    const share = this.#shares.get(key)
    if (!share?.all.delete(one)) return false
    share.idle.delete(one)
    this.#size -= 1
    if (share.all.size === 0) this.#shares.delete(key)
    return true
  }
}
