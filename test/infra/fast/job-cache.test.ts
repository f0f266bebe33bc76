import { describe, expect, it } from 'vitest'
import type { Job, JobId } from '../../../src/domain/job.ts'
import { createJobCache } from '../../../src/infra/fast/job-cache.ts'

const aJob = (id: string, epoch = 0) => ({ id, epoch }) as Job
const id = (text: string) => text as JobId

describe('the jobs that were asked for lately', () => {
  it('are read once, until they may have changed', async () => {
    const cache = createJobCache()
    let reads = 0
    const read = async () => aJob('a', ++reads)
    expect([await cache.find(id('a'), read), await cache.find(id('a'), read)]).toEqual([
      aJob('a', 1),
      aJob('a', 1),
    ])
    cache.forget([id('b')])
    expect(await cache.find(id('a'), read)).toEqual(aJob('a', 1))
    cache.forget([id('a')])
    expect(await cache.find(id('a'), read)).toEqual(aJob('a', 2))
  })

  it('are not kept as they were read while something was written', async () => {
    const cache = createJobCache()
    const old = Promise.withResolvers<Job>()
    const found = cache.find(id('a'), () => old.promise)
    cache.forget([id('a')])
    old.resolve(aJob('a', 1))
    expect(await found).toEqual(aJob('a', 1))
    expect(await cache.find(id('a'), async () => aJob('a', 2))).toEqual(aJob('a', 2))
  })

  it('do not include those that are not there, which may come', async () => {
    const cache = createJobCache()
    expect(await cache.find(id('a'), async () => undefined)).toBeUndefined()
    expect(await cache.find(id('a'), async () => aJob('a'))).toEqual(aJob('a'))
  })

  it('are at most a thousand', async () => {
    const cache = createJobCache()
    let reads = 0
    const look = (n: number) =>
      cache.find(id(String(n)), async () => {
        reads++
        return aJob(String(n))
      })
    for (let n = 0; n <= 1_000; n++) await look(n)
    await look(1)
    expect(reads).toBe(1_001)
    await look(0)
    expect(reads).toBe(1_002)
  })
})
