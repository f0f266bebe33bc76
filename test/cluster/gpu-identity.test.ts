import { describe, expect, it } from 'vitest'
import { renamedGpus } from '../../src/cluster/gpu-identity.ts'

const [a, b] = ['GPU-aaaa-1111', 'GPU-bbbb-2222']

describe('a GPU that is named in another way', () => {
  it('is recognised by its number when it was named by that and is named by its UUID now', () => {
    const known = [
      { id: 4, device: '0' },
      { id: 5, device: '1' },
    ]
    const now = [
      { device: b, index: 1, uuid: b },
      { device: a, index: 0, uuid: a },
    ]
    expect(renamedGpus(known, now)).toEqual([
      { id: 5, device: b },
      { id: 4, device: a },
    ])
  })

  it('is recognised by its UUID when it is named by its number now, or by a part of its UUID', () => {
    const known = [{ id: 4, device: a, uuid: null }]
    expect(renamedGpus(known, [{ device: '0', index: 0, uuid: a }])).toEqual([
      { id: 4, device: '0' },
    ])
    expect(renamedGpus(known, [{ device: 'GPU-aaaa' }])).toEqual([{ id: 4, device: 'GPU-aaaa' }])
    expect(renamedGpus([{ id: 4, device: '0', uuid: a }], [{ device: a }])).toEqual([
      { id: 4, device: a },
    ])
  })

  it('is another one when another card has its number', () => {
    const known = [{ id: 4, device: '0', uuid: a }]
    expect(renamedGpus(known, [{ device: b, index: 0, uuid: b }])).toEqual([])
  })

  it('is not guessed when nothing but its place is known', () => {
    expect(renamedGpus([{ id: 4, device: '0' }], [{ device: a }])).toEqual([])
    expect(renamedGpus([{ id: 4, device: a }], [{ device: '0', index: 0 }])).toEqual([])
  })

  it('is not taken from a GPU that keeps its name', () => {
    const known = [
      { id: 4, device: '0', uuid: a },
      { id: 5, device: '1', uuid: b },
    ]
    const now = [
      { device: '0', index: 0, uuid: b },
      { device: '1', index: 1, uuid: a },
    ]
    expect(renamedGpus(known, now)).toEqual([])
  })
})
