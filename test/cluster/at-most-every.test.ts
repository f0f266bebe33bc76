import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { atMostEvery } from '../../src/cluster/at-most-every.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('work that is done at most every five seconds', () => {
  it('is done at once, and once for all calls that come sooner', () => {
    const work = vi.fn()
    const { call } = atMostEvery(5_000, work)
    for (let calls = 0; calls < 4; calls++) call()
    expect(work).toHaveBeenCalledTimes(1)
    vi.advanceTimersByTime(4_999)
    expect(work).toHaveBeenCalledTimes(1)
    vi.advanceTimersByTime(1)
    expect(work).toHaveBeenCalledTimes(2)
    vi.advanceTimersByTime(60_000)
    expect(work).toHaveBeenCalledTimes(2)
    call()
    expect(work).toHaveBeenCalledTimes(3)
  })

  it('is not done any more after it was stopped', () => {
    const work = vi.fn()
    const { call, stop } = atMostEvery(5_000, work)
    call()
    call()
    stop()
    vi.advanceTimersByTime(60_000)
    expect(work).toHaveBeenCalledTimes(1)
  })
})
