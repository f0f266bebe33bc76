import fc from 'fast-check'
import { expect, it } from 'vitest'
import { type Look, stillMs, type Watch, watch } from '../../src/cluster/watch.ts'

const lostMs = 3_000
const maxGapMs = lostMs / 2

/** Looks one after the other; each reads the beat somewhere between question and answer. */
const looks = fc.array(
  fc.record({
    pauseMs: fc.nat(2_000),
    sendMs: fc.nat(500),
    returnMs: fc.nat(500),
    moves: fc.boolean(),
    fails: fc.boolean(),
  }),
  { maxLength: 30 },
)

it('a watch never overstates how long a beat stood still, and counts no gap between looks', () => {
  fc.assert(
    fc.property(looks, (story) => {
      let now = 0
      let beat = 0
      let movedAt = 0
      let lastAnswer = 0
      /** Start of the present row of looks without a gap. */
      let rowBegan = 0
      let seen: Watch | undefined
      for (const { pauseMs, sendMs, returnMs, moves, fails } of story) {
        now += pauseMs
        const askedAt = now
        now += sendMs
        if (moves) {
          beat += 1
          movedAt = now
        }
        const key = String(beat)
        now += returnMs
        const look: Look = { askedAt, answeredAt: now }
        if (fails || seen === undefined || now - lastAnswer > maxGapMs) rowBegan = now
        lastAnswer = now
        seen = fails ? undefined : watch(seen, key, look, lostMs)
        if (!seen) continue
        expect(stillMs(seen)).toBeLessThanOrEqual(now - movedAt)
        expect(stillMs(seen)).toBeLessThanOrEqual(now - rowBegan)
      }
    }),
  )
})

it('a watch finds that a beat stands still', () => {
  const first = watch(undefined, '1', { askedAt: 0, answeredAt: 10 }, lostMs)
  const second = watch(first, '1', { askedAt: 510, answeredAt: 520 }, lostMs)
  const third = watch(second, '1', { askedAt: 1_020, answeredAt: 1_030 }, lostMs)
  expect([first, second, third].map(stillMs)).toEqual([0, 500, 1_010])
})
