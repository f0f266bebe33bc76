import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  changedValues,
  entries,
  first,
  fromSorted,
  get,
  keys,
  type OrderedMap,
  rank,
  remove,
  set,
  size,
  values,
} from '../../src/actors/ordered-map.ts'

type Change = Readonly<{ key: number; value?: string }>

/** The same map as a plain array of entries, in key order. */
type Entries = ReadonlyArray<readonly [number, string]>

const key = fc.integer({ min: 0, max: 40 })
const change: fc.Arbitrary<Change> = fc.record(
  { key, value: fc.string() },
  { requiredKeys: ['key'] },
)
const changes = fc.array(change, { maxLength: 200, size: 'max' })

describe('an ordered map', () => {
  it('holds what a plain array of entries would hold', () => {
    fc.assert(
      fc.property(changes, key, (changes, asked) => {
        const map = changes.reduce(apply, undefined)
        const entries = changes.reduce(applyPlainly, [])
        expect([...values(map)]).toEqual(entries.map(([, value]) => value))
        expect(size(map)).toBe(entries.length)
        expect(get(map, asked)).toBe(entries.find(([key]) => key === asked)?.[1])
        expect(rank(map, asked)).toBe(entries.filter(([key]) => key < asked).length)
        const [head] = entries
        expect(first(map)).toEqual(
          head ? expect.objectContaining({ key: head[0], value: head[1] }) : undefined,
        )
      }),
    )
  })

  it('finds what has changed since another, as a comparison of all values would', () => {
    fc.assert(
      fc.property(changes, changes, (first, later) => {
        const before = first.reduce(apply, undefined)
        const after = later.reduce(apply, before)
        const changed = [...entries(after)].filter(([key, value]) => get(before, key) !== value)
        expect(changedValues(before, after)).toEqual(changed.map(([, value]) => value))
        expect([...keys(after)]).toEqual([...entries(after)].map(([key]) => key))
      }),
    )
  })

  it('orders words as it orders numbers', () => {
    const words = fc.uniqueArray(fc.string(), { maxLength: 200, size: 'max' })
    fc.assert(
      fc.property(words, (words) => {
        const map = words.reduce<OrderedMap<string, string>>(
          (map, word) => set(map, word, word),
          undefined,
        )
        expect([...values(map)]).toEqual(words.toSorted(byCodeUnit))
      }),
    )
  })

  it('comes from sorted entries as if they had been set one by one', () => {
    const sorted = fc
      .uniqueArray(key, { maxLength: 40, size: 'max' })
      .map((keys) => keys.toSorted((a, b) => a - b).map((key) => [key, `value ${key}`] as const))
    fc.assert(
      fc.property(sorted, changes, key, (entries, changes, asked) => {
        const map = changes.reduce(apply, fromSorted(entries))
        const expected = changes.reduce(applyPlainly, entries)
        expect([...values(map)]).toEqual(expected.map(([, value]) => value))
        expect(rank(map, asked)).toBe(expected.filter(([key]) => key < asked).length)
        expect(size(map)).toBe(expected.length)
      }),
    )
  })

  it('never gets deep, whatever is set and removed', () => {
    fc.assert(
      fc.property(changes, (changes) => {
        let map: OrderedMap<number, string>
        for (const change of changes) {
          map = apply(map, change)
          expect(depth(map)).toBeLessThanOrEqual(deepest(map))
          expect(isBalanced(map)).toBe(true)
        }
      }),
    )
  })

  it.each([
    ['in ascending order', (n: number) => n],
    ['in descending order', (n: number) => -n],
    ['from both ends in turn', (n: number) => (n % 2 ? n : -n)],
  ])('stays flat with 20,000 keys that come %s and leave from the front', (_order, keyOf) => {
    let map: OrderedMap<number, number>
    for (let n = 0; n < 20_000; n++) map = set(map, keyOf(n), n)
    expect(depth(map)).toBeLessThanOrEqual(deepest(map))
    for (let head = first(map); size(map) > 100; head = first(map)) {
      if (head) map = remove(map, head.key)
    }
    expect(depth(map)).toBeLessThanOrEqual(deepest(map))
  })

  it('is as flat as can be when it comes from sorted entries', () => {
    const map = fromSorted(Array.from({ length: 1_000 }, (_, n) => [n, n] as const))
    expect(depth(map)).toBe(10)
  })

  it('leaves its older versions as they were', () => {
    fc.assert(
      fc.property(changes, changes, (before, after) => {
        const old = before.reduce(apply, undefined)
        const was = JSON.stringify(old)
        after.reduce(apply, old)
        expect(JSON.stringify(old)).toBe(was)
      }),
    )
  })

  it('is the same map when what is removed is not there', () => {
    const map = fromSorted([
      [1, 'one'],
      [3, 'three'],
    ])
    expect(remove(map, 2)).toEqual(map)
    expect(remove(undefined, 2)).toBeUndefined()
  })
})

function apply(map: OrderedMap<number, string>, { key, value }: Change) {
  return value === undefined ? remove(map, key) : set(map, key, value)
}

function applyPlainly(entries: Entries, { key, value }: Change): Entries {
  const others = entries.filter(([other]) => other !== key)
  if (value === undefined) return others
  return [...others, [key, value] as const].toSorted(([a], [b]) => a - b)
}

function depth<K extends string | number, V>(map: OrderedMap<K, V>): number {
  return map ? 1 + Math.max(depth(map.left), depth(map.right)) : 0
}

/** Neither side of any node weighs more than three times as much as the other, and sizes are true. */
function isBalanced<K extends string | number, V>(map: OrderedMap<K, V>): boolean {
  if (!map) return true
  const { left, right } = map
  const [light = 0, heavy = 0] = [size(left) + 1, size(right) + 1].toSorted((a, b) => a - b)
  const isTrue = map.size === size(left) + size(right) + 1
  return isTrue && heavy <= 3 * light && isBalanced(left) && isBalanced(right)
}

const deepest = (map: { size: number } | undefined): number =>
  Math.max(1, 2.5 * Math.log2(size(map) + 1))

const byCodeUnit = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
