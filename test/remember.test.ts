import { describe, expect, it } from 'vitest'
import { rememberLast } from '../src/http/remember.ts'

describe('what is remembered of the last time', () => {
  it('serves as long as all it was made of is the same, and for nothing else', () => {
    let made = 0
    const make = rememberLast((key: { name: string }, ...rest: (number | undefined)[]) => {
      made++
      return [key.name, ...rest].join()
    })
    const a = { name: 'a' }
    expect([make(a, 1, undefined), make(a, 1, undefined)]).toEqual(['a,1,', 'a,1,'])
    expect(made).toBe(1)
    expect([make(a, 2, undefined), make(a, 1, undefined)]).toEqual(['a,2,', 'a,1,'])
    expect(make({ name: 'b' }, 1, undefined)).toBe('b,1,')
    expect(made).toBe(4)
  })
})
