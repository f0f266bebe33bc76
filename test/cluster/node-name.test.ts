import fc from 'fast-check'
import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import { channelOf, NodeName } from '../../src/cluster/node-name.ts'

describe('the name of a node', () => {
  it.each(['a', 'gpu-7', 'node.example.org', 'x'.repeat(63)])('can be "%s"', (name) => {
    expect(v.parse(NodeName, name)).toBe(name)
  })

  it('is the same in capitals', () => {
    expect(v.parse(NodeName, 'GPU-7')).toBe('gpu-7')
  })

  it.each(['', '-a', 'a-', 'a b', "a'b", 'a"b', 'a;b', 'a/b', 'é', 'a\n', 'x'.repeat(64)])(
    'cannot be %j',
    (name) => {
      expect(v.safeParse(NodeName, name).success).toBe(false)
    },
  )

  it('has a channel that PostgreSQL neither cuts nor quotes', () => {
    fc.assert(
      fc.property(fc.string(), (name) => {
        expect(channelOf(name)).toMatch(/^[a-z0-9_]{1,63}$/)
      }),
    )
  })
})
