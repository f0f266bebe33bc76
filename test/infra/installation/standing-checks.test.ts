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

  it('that throws is a verdict like any other', async () => {
    const { standing } = keepChecking({ tool: () => Promise.reject(new Error('EACCES')) })
    await vi.waitUntil(() => standing()[0]?.detail.includes('EACCES'))
    expect(standing()[0]).toMatchObject({ name: 'tool', ok: false })
  })
})
