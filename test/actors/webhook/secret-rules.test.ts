import { describe, expect, it } from 'vitest'
import { keysAt, overlapMs, rotated } from '../../../src/actors/webhook/secret-rules.ts'
import { midnight } from '../../support/jobs.ts'

describe('a secret', () => {
  it('signs beside its successor for a day, and not beside the one after that', () => {
    const first = [{ key: 'first' }]
    const second = rotated(first, 'second', midnight)
    expect(keysAt(second, midnight + overlapMs - 1)).toEqual(['second', 'first'])
    expect(keysAt(second, midnight + overlapMs)).toEqual(['second'])
    expect(keysAt(rotated(second, 'third', midnight + 1), midnight + 2)).toEqual([
      'third',
      'second',
    ])
  })
})
