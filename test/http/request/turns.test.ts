import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { connectionArrived, myTurn, takeTurn } from '../../../src/http/request/turns.ts'

describe('work that can wait', () => {
  it('is done in the order in which it came, and others get their turn in between', async () => {
    const done: (number | 'other')[] = []
    for (let n = 0; n < 5; n += 1) takeTurn(() => done.push(n))
    while (!done.includes(4)) {
      await nextTurn()
      done.push('other')
    }
    expect(done.filter((one) => one !== 'other')).toEqual([0, 1, 2, 3, 4])
    const places = [0, 1, 2, 3, 4].map((n) => done.indexOf(n))
    const gaps = places.slice(1).map((place, n) => place - (places[n] ?? 0))
    expect(Math.min(...gaps)).toBeGreaterThan(1)
  })

  it('waits while one connection after the other comes, and is done all the same', async () => {
    let isDone = false
    const asked = performance.now()
    void myTurn().then(() => {
      isDone = true
    })
    while (!isDone) {
      connectionArrived()
      await nextTurn()
    }
    // Without them it would be its turn after a millisecond.
    expect(performance.now() - asked).toBeGreaterThan(15)
  })

  it('goes on after a piece of it that failed', async () => {
    const failing = myTurn().then(() => Promise.reject(new Error('of no use')))
    await expect(Promise.allSettled([failing, myTurn()])).resolves.toMatchObject([
      { status: 'rejected' },
      { status: 'fulfilled' },
    ])
  })
})
