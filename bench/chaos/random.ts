/** Chance that can be repeated: mulberry32, a stream of its own for each purpose. */
export type Random = Readonly<{
  /** A number from [0, 1). */
  next(): number
  /** A whole number from `from` to `to`, both included. */
  between(from: number, to: number): number
  chance(share: number): boolean
  pick<T>(things: readonly T[]): T | undefined
}>

export function createRandom(seed: number, purpose: string): Random {
  let state = [...purpose].reduce(
    (sum, char) => Math.imul(sum ^ char.charCodeAt(0), 16777619),
    seed,
  )
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  return {
    next,
    between: (from, to) => from + Math.floor(next() * (to - from + 1)),
    chance: (share) => next() < share,
    pick: (things) => things[Math.floor(next() * things.length)],
  }
}
