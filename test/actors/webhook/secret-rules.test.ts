import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  firstEnd,
  keysAt,
  maxSecrets,
  overlapMs,
  rotated,
} from '../../../src/actors/webhook/secret-rules.ts'
import type { WebhookSecret } from '../../../src/domain/webhook.ts'
import { midnight } from '../../support/jobs.ts'

describe('a secret', () => {
  it('signs beside its successor for a day', () => {
    const second = rotated([{ key: 'first' }], 'second', midnight) ?? []
    expect(keysAt(second, midnight + overlapMs - 1)).toEqual(['second', 'first'])
    expect(keysAt(second, midnight + overlapMs)).toEqual(['second'])
  })

  it('signs for its whole day when its successor is replaced meanwhile', () => {
    const second = rotated([{ key: 'first' }], 'second', midnight) ?? []
    const third = rotated(second, 'third', midnight + 1) ?? []
    expect(keysAt(third, midnight + overlapMs - 1)).toEqual(['third', 'second', 'first'])
    expect(keysAt(third, midnight + overlapMs)).toEqual(['third', 'second'])
    expect(keysAt(third, midnight + overlapMs + 1)).toEqual(['third'])
  })

  it('becomes the current one without an end when it is given again', () => {
    const second = rotated([{ key: 'first' }], 'second', midnight) ?? []
    const again = rotated(second, 'first', midnight + 1) ?? []
    expect(keysAt(again, midnight + 2)).toEqual(['first', 'second'])
    expect(keysAt(again, midnight + 2 * overlapMs)).toEqual(['first'])
  })

  it('is refused while ten others are good, up to the end of the first of them', () => {
    let secrets: readonly WebhookSecret[] = [{ key: 'key 0' }]
    for (let n = 1; n < maxSecrets; n += 1)
      secrets = rotated(secrets, `key ${n}`, midnight + n) ?? []
    const later = midnight + maxSecrets
    expect(rotated(secrets, 'one more', later)).toBeUndefined()
    const end = firstEnd(secrets, later)
    expect(end).toBe(midnight + 1 + overlapMs)
    expect(rotated(secrets, 'one more', end - 1)).toBeUndefined()
    expect(rotated(secrets, 'one more', end)).toHaveLength(maxSecrets)
  })

  it('signs until the end that its replacement has announced, whatever follows', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(overlapMs), { maxLength: 30 }), (waits) => {
        let secrets: readonly WebhookSecret[] = [{ key: 'key 0' }]
        let at = midnight
        const ends = new Map<string, number>()
        for (const [n, wait] of waits.entries()) {
          at += wait
          const next = rotated(secrets, `key ${n + 1}`, at)
          const [current] = secrets
          if (next && current) ends.set(current.key, at + overlapMs)
          secrets = next ?? secrets
          for (const [key, end] of ends) expect(keysAt(secrets, at).includes(key)).toBe(end > at)
          expect(secrets.length).toBeLessThanOrEqual(maxSecrets)
        }
      }),
    )
  })
})
