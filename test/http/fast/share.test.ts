import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { sharing } from '../../../src/http/fast/share.ts'

describe('the same question', () => {
  it('is put once in a turn of the loop, and anew in the next', async () => {
    const share = sharing<number>()
    let asked = 0
    const find = async () => ++asked
    expect(await Promise.all([share('a', find), share('a', find), share('b', find)])).toEqual([
      ...[1, 1, 2],
    ])
    await nextTurn()
    expect(await share('a', find)).toBe(3)
  })

  it('fails for all who have put it together, and for nobody after them', async () => {
    const share = sharing<string>()
    const fail = async () => {
      throw new Error('no')
    }
    const failed = await Promise.allSettled([share('a', fail), share('a', fail)])
    expect(failed.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    await nextTurn()
    expect(await share('a', async () => 'yes')).toBe('yes')
  })
})
