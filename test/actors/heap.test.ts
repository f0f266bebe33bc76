import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Heap } from '../../src/actors/heap.ts'

describe('a heap', () => {
  it('gives its items in order, whenever they were put', () => {
    const step = fc.oneof(fc.integer({ min: 0, max: 20 }), fc.constant('pop' as const))
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 20 })), fc.array(step), (first, steps) => {
        const heap = new Heap(first, (a, b) => a < b)
        const plain = first.toSorted((a, b) => a - b)
        for (const one of steps) {
          if (one === 'pop') expect(heap.pop()).toBe(plain.shift())
          else {
            heap.push(one)
            plain.push(one)
            plain.sort((a, b) => a - b)
          }
          expect(heap.first).toBe(plain[0])
          expect(heap.items.toSorted((a, b) => a - b)).toEqual(plain)
        }
      }),
    )
  })
})
