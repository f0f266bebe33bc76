import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { findOverdue, findRoom } from '../../../src/http/connections/connection-rules.ts'
import { type Connection, Crowd } from '../../../src/http/connections/crowd.ts'

const now = 1_000_000
const limits = { maxPerAddress: 3, maxStallMs: 60_000, maxHeldBytes: 1_000 }

const idle = (address: string, forMs: number): Connection => ({
  ...{ address, isBusy: false, since: now - forMs, heldBytes: 0, progressAt: now },
})
const busy = (address: string, forMs: number): Connection => ({
  ...idle(address, forMs),
  isBusy: true,
})
const stalled = (address: string, forMs: number, heldBytes = 1): Connection => ({
  ...busy(address, forMs),
  ...{ heldBytes, progressAt: now - forMs },
})

/** As if each of them had become idle, or busy, when it says. */
function crowdOf(all: readonly Connection[]): Crowd<Connection> {
  const crowd = new Crowd<Connection>()
  for (const one of all.toSorted((a, b) => a.since - b.since)) crowd.add(one)
  return crowd
}

describe('room for one more connection', () => {
  const roomFor = (address: string, all: readonly Connection[]) =>
    findRoom(crowdOf(all), address, limits, now)

  it('is made by the oldest idle connection', () => {
    const oldest = idle('a', 900)
    expect(roomFor('b', [busy('a', 9_000), idle('a', 100), oldest, idle('a', 500)])).toBe(oldest)
  })

  it('is made by the address that has the most, though another has an older idle one', () => {
    const ofMany = idle('a', 10)
    expect(roomFor('c', [idle('b', 99_000), busy('a', 1), ofMany])).toBe(ofMany)
  })

  it('is made by a connection of the same address when that has as many as it may', () => {
    const own = idle('a', 10)
    expect(roomFor('a', [idle('b', 900), busy('a', 1), busy('a', 1), own])).toBe(own)
    expect(roomFor('a', [idle('b', 900), busy('a', 1), busy('a', 1), busy('a', 1)])).toBe(undefined)
  })

  it('is made by the one that has been stalled longest when none is idle', () => {
    const longest = stalled('a', 20_000)
    expect(roomFor('b', [busy('a', 90_000), stalled('a', 10_000), longest])).toBe(longest)
  })

  it('is made by the longest request of an address that has twice as many', () => {
    const longest = busy('a', 20_000)
    expect(roomFor('b', [busy('a', 10_000), longest])).toBe(longest)
    expect(roomFor('b', [busy('a', 10_000), longest, busy('b', 30_000)])).toBe(undefined)
  })

  it('is made by a node only when nobody else has one of the kind', () => {
    const ofNode = (one: Connection): Connection => ({ ...one, isPeer: true })
    const nodes = [ofNode(idle('n', 90_000)), ofNode(busy('n', 90_000)), ofNode(busy('n', 80_000))]
    const other = idle('a', 10)
    expect(roomFor('b', [...nodes, other])).toBe(other)
    expect(roomFor('b', nodes)).toBe(nodes[0])
    const [, longest] = nodes
    const greedy = busy('a', 10_000)
    expect(roomFor('b', [...nodes.slice(1), greedy, busy('a', 9_000)])).toBe(greedy)
    expect(roomFor('b', [...nodes.slice(1), greedy])).toBe(longest)
  })

  it('is not made by requests of the last seconds', () => {
    expect(roomFor('b', [busy('a', 4_000), stalled('a', 4_000), busy('a', 10)])).toBe(undefined)
  })
})

describe('a connection is cut', () => {
  const cutOf = (all: readonly Connection[]) => findOverdue(all, limits, now)

  it('when its peer has taken nothing for 60 seconds, and not before', () => {
    const gone = stalled('a', 60_000)
    const all = [gone, stalled('a', 59_999), busy('a', 99_000), idle('a', 99_000)]
    expect(cutOf(all)).toEqual([{ connection: gone, reason: 'stalled' }])
  })

  it('when all hold too much: the largest that does not move', () => {
    const largest = stalled('a', 6_000, 600)
    const all = [stalled('a', 6_000, 300), largest, stalled('a', 4_000, 700)]
    expect(cutOf(all)).toEqual([{ connection: largest, reason: 'over_budget' }])
  })

  it('although it moves, when all hold twice too much', () => {
    const largest = stalled('a', 0, 1_200)
    const all = [stalled('a', 0, 900), largest]
    expect(cutOf(all)).toEqual([{ connection: largest, reason: 'over_budget' }])
  })
})

const anyConnection = fc.record<Connection>({
  address: fc.constantFrom('a', 'b', 'c', 'd'),
  isBusy: fc.boolean(),
  since: fc.integer({ min: now - 200_000, max: now }),
  heldBytes: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 2_000 })),
  progressAt: fc.integer({ min: now - 200_000, max: now }),
})

describe('whatever connections there are', () => {
  it('what is left holds no more than twice the budget, and no more than once of what does not move', () => {
    fc.assert(
      fc.property(fc.array(anyConnection, { maxLength: 40 }), (all) => {
        const cut = new Set(findOverdue(all, limits, now).map(({ connection }) => connection))
        const left = all.filter((one) => !cut.has(one))
        const bytes = left.reduce((sum, one) => sum + one.heldBytes, 0)
        expect(bytes).toBeLessThanOrEqual(2 * limits.maxHeldBytes)
        const paused = left.filter((one) => one.heldBytes > 0 && now - one.progressAt >= 5_000)
        if (bytes > limits.maxHeldBytes) expect(paused).toEqual([])
        for (const one of left)
          if (one.heldBytes > 0) expect(now - one.progressAt).toBeLessThan(limits.maxStallMs)
      }),
    )
  })

  it('nothing is cut of those that hold nothing', () => {
    fc.assert(
      fc.property(fc.array(anyConnection), (all) => {
        for (const { connection } of findOverdue(all, limits, now))
          expect(connection.heldBytes).toBeGreaterThan(0)
      }),
    )
  })

  it('an address with fewer than half of the largest share gets in, unless all requests are young', () => {
    fc.assert(
      fc.property(fc.array(anyConnection, { minLength: 1, maxLength: 40 }), (all) => {
        const room = findRoom(crowdOf(all), 'new', { maxPerAddress: 100 }, now)
        const counts = Map.groupBy(all, ({ address }) => address)
        const most = Math.max(...[...counts.values()].map(({ length }) => length))
        const young = all.every(({ isBusy, since }) => isBusy && now - since < 5_000)
        if (most >= 2 && !young && all.some(({ isBusy }) => !isBusy)) expect(room).toBeDefined()
        if (room) expect(all).toContain(room)
      }),
    )
  })
})
