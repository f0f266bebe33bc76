import fc from 'fast-check'
import { expect, it } from 'vitest'
import { jsonBytes } from '../../../src/http/fast/answer.ts'

it('a long answer is what JSON.stringify writes, whatever is in it', async () => {
  const value = fc.oneof(fc.jsonValue(), fc.array(fc.jsonValue()), fc.constant(undefined))
  await fc.assert(
    fc.asyncProperty(fc.dictionary(fc.string(), value), async (body) => {
      const answer = await jsonBytes(body, 200)
      expect(answer.headers.get('Content-Type')).toBe('application/json')
      expect(await answer.text()).toBe(JSON.stringify(body))
    }),
  )
})

it('others get their turn while a long answer is written', async () => {
  const jobs = Array.from({ length: 20_000 }, (_, n) => ({
    n,
    prompt: 'A heron in the rain. '.repeat(20),
  }))
  let turns = 0
  const turning = setInterval(() => {
    turns += 1
  }, 0)
  await jsonBytes({ jobs }, 200)
  clearInterval(turning)
  expect(turns).toBeGreaterThan(0)
})
