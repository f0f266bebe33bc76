import { expect, it } from 'vitest'
import { runFuzz } from '../../bench/fuzz/run.ts'

/** The short form of `npm run fuzz`, the same every time but for what jobs have come to meanwhile. */
it('answers 2,000 requests as its document says, rubbish among them', {
  timeout: 300_000,
}, async () => {
  const result = await runFuzz({ requests: 2_000, seed: 5, say: () => {} })
  expect(result.findings).toEqual([])
  const counts = [...result.answers.values()].flatMap((statuses) => [...statuses.values()])
  expect(counts.reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(2_000)
  expect(result.rssAfterMb - result.rssBeforeMb).toBeLessThan(50)
})
