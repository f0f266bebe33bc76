import { describe, expect, it, vi } from 'vitest'
import type { Check } from '../../../src/domain/check.ts'
import { keepChecking } from '../../../src/infra/installation/standing-checks.ts'

const well: Check = { name: 'tool', ok: true, detail: 'it runs' }

describe('a standing check', () => {
  it('says at once what was found last, how long ago, and looks again by itself', async () => {
    const found: Check[] = [well, { ...well, ok: false, detail: 'Install it.' }]
    let looks = 0
    const { standing } = keepChecking(
      { tool: async () => found[Math.min(looks++, 1)] ?? well },
      { everyMs: 1_000 },
    )
    expect(standing()).toMatchObject([{ name: 'tool', ok: false, detail: 'Not looked at yet.' }])
    await vi.waitUntil(() => standing()[0]?.ok, { interval: 5 })
    expect(standing()[0]?.ageMs).toBeLessThan(1_000)
    await vi.waitUntil(() => standing()[0]?.detail === 'Install it.', { timeout: 10_000 })
    expect(looks).toBeGreaterThan(1)
  })

  it('that hangs is soon not believed any more, holds up no other, and is not begun twice', async () => {
    let looks = 0
    const hangs = () => {
      looks += 1
      return looks === 1 ? Promise.resolve(well) : new Promise<Check>(() => {})
    }
    const { standing } = keepChecking(
      { hangs, works: async () => ({ ...well, name: 'works' }) },
      { everyMs: 1, patienceMs: 50 },
    )
    await vi.waitUntil(() => standing()[0]?.detail.includes('no answer'), { interval: 5 })
    expect(standing()).toMatchObject([
      { name: 'hangs', ok: false },
      { name: 'works', ok: true },
    ])
    expect(standing()[0]?.ageMs).toBeGreaterThan(50)
    expect(looks).toBe(2)
  })

  it('that failed is made again soon, and its listeners hear of each verdict', async () => {
    let isThere = false
    const heard: boolean[] = []
    const checks = keepChecking(
      { tool: async () => ({ ...well, ok: isThere }) },
      { everyMs: 60_000, failedEveryMs: 20 },
    )
    checks.listen((verdicts) => {
      for (const { ok } of verdicts) heard.push(ok)
    })
    await vi.waitUntil(() => heard.length > 2, { interval: 5 })
    expect(heard).not.toContain(true)
    isThere = true
    await vi.waitUntil(() => heard.at(-1), { interval: 5 })
    const { length } = heard
    // Made now, though it would not be due for a minute.
    isThere = false
    checks.lookAgain()
    await vi.waitUntil(() => heard.length > length && heard.at(-1) === false, { interval: 5 })
  })

  it('that hangs is told to its listeners as one that failed', async () => {
    const heard: Check[] = []
    const hangs = () => new Promise<Check>(() => {})
    keepChecking({ hangs }, { patienceMs: 20 }).listen((verdicts) => heard.push(...verdicts))
    await vi.waitUntil(() => heard.length > 0, { interval: 5 })
    expect(heard[0]).toMatchObject({ name: 'hangs', ok: false })
  })

  it('that throws is a verdict like any other', async () => {
    const { standing } = keepChecking({ tool: () => Promise.reject(new Error('EACCES')) })
    await vi.waitUntil(() => standing()[0]?.detail.includes('EACCES'))
    expect(standing()[0]).toMatchObject({ name: 'tool', ok: false })
  })
})
