import { LRUCache } from 'lru-cache'

/** Ids make for many paths, but most that are asked for are asked for again in a moment. */
const maxPaths = 1_000
/** Nobody polls a longer one, and it is not worth the room. */
const maxPathLength = 128

/** What follows from a path alone, and is not found out again for each request. Refusals are. */
export function rememberPaths<Found extends NonNullable<unknown>>() {
  // Created at its first use: it reserves room for all paths, and most routes are rarely requested.
  let known: LRUCache<string, Found> | undefined
  return (path: string, find: () => Found): Found => {
    const before = known?.get(path)
    if (before !== undefined) return before
    const found = find()
    if (path.length > maxPathLength) return found
    known ??= new LRUCache({ max: maxPaths })
    known.set(path, found)
    return found
  }
}
