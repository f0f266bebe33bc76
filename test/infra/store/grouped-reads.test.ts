import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { groupReads } from '../../../src/infra/store/grouped-reads.ts'

describe('reads of single rows', () => {
  it('begin at once, and go together while another one is under way', async () => {
    const { groups, find, end } = reads()
    const first = find(1)
    expect(groups).toEqual([[1]])
    const others = [find(2), find(3), find(2)]
    await end()
    expect(await first).toEqual({ id: 1, of: [1] })
    await end()
    const row = (id: number) => ({ id, of: [2, 3] })
    expect(await Promise.all(others)).toEqual([row(2), row(3), row(2)])
    expect(groups).toEqual([[1], [2, 3]])
  })

  it('read a row again that was asked for during its read, since it may have changed', async () => {
    const { groups, find, end } = reads()
    const before = find(1)
    const after = find(1)
    await end()
    await before
    await end()
    await after
    expect(groups).toEqual([[1], [1]])
  })

  it('are undefined without a row', async () => {
    const { find, end } = reads()
    const none = find(-1)
    await end()
    expect(await none).toBeUndefined()
  })

  it('fail together, and later ones are tried again', async () => {
    const { find, end } = reads()
    const first = find(1)
    const second = find(2)
    await end(new Error('no connection'))
    await expect(first).rejects.toThrow('no connection')
    await end()
    expect(await second).toMatchObject({ id: 2 })
    const later = find(3)
    await end()
    expect(await later).toMatchObject({ id: 3 })
  })

  it('are no more than a group holds', async () => {
    const { groups, find, end } = reads()
    const all = Array.from({ length: 6 }, (_, n) => find(n))
    for (const one of [0, 3, 5]) {
      await end()
      await all[one]
    }
    expect(groups).toEqual([[0], [1, 2, 3], [4, 5]])
  })
})

function reads() {
  const groups: (readonly number[])[] = []
  let ended = Promise.withResolvers<void>()
  const find = groupReads(
    async (keys: readonly number[]) => {
      groups.push(keys)
      ended = Promise.withResolvers()
      await ended.promise
      return keys.filter((id) => id >= 0).map((id) => ({ id, of: keys }))
    },
    ({ id }) => id,
    3,
  )
  /** Ends the read that is under way, or begins now. */
  const end = async (error?: Error) => {
    await setImmediate()
    return error ? ended.reject(error) : ended.resolve()
  }
  return { groups, find, end }
}
