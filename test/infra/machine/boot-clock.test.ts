import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { ageMsOf, bootMs } from '../../../src/infra/machine/boot-clock.ts'
import { startOf } from '../../../src/infra/processes/process-table.ts'

describe('the clock since the boot', () => {
  it('knows how old a process is', () => {
    const age = ageMsOf(startOf(process.pid) ?? 0)
    const own = process.uptime() * 1_000
    // The process is a little older than its JavaScript, and ticks are of 10 ms.
    expect(age).toBeGreaterThan(own - 20)
    expect(age).toBeLessThan(own + 5_000)
  })

  it('does not move when the clock is set', () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    onTestFinished(() => void vi.useRealTimers())
    const before = bootMs()
    vi.setSystemTime(Date.now() + 9 * 24 * 60 * 60_000)
    expect(bootMs() - before).toBeLessThan(60_000)
  })

  it('has no process of an age below 0', () => {
    expect(ageMsOf(Number.MAX_SAFE_INTEGER)).toBe(0)
  })

  it('knows no start of a process that is not there', () => {
    expect(startOf(2 ** 22 + 1)).toBeUndefined()
  })
})
