import { describe, expect, it } from 'vitest'
import { availableIn, availableMemory } from '../../../src/infra/machine/available-memory.ts'

const gib = 1024 ** 3
const host = { hostFree: 90 * gib, hostTotal: 128 * gib, cgroupStat: '' }

describe('the memory that is available', () => {
  it('is that of the host where the cgroup has no limit', () => {
    const cgroupStat = `inactive_file ${30 * gib}\n`
    for (const limit of [0, 2 ** 64, 128 * gib]) {
      expect(availableIn({ ...host, limit, available: 90 * gib, cgroupStat })).toBe(90 * gib)
    }
  })

  it.each([
    ['version 2', `anon 5\ninactive_file ${20 * gib}\nactive_file ${14 * gib}\n`],
    [
      'version 1',
      `inactive_file 1\ntotal_inactive_file ${20 * gib}\ntotal_active_file ${14 * gib}\n`,
    ],
  ])('of a cgroup with a limit includes the files that are in memory: %s', (_, cgroupStat) => {
    const memory = { ...host, limit: 48 * gib, available: 2 * gib, cgroupStat }
    expect(availableIn(memory)).toBe(36 * gib)
  })

  it('is never more than the host has', () => {
    const cgroupStat = `inactive_file ${20 * gib}\n`
    const memory = { ...host, hostFree: 10 * gib, limit: 48 * gib, available: gib, cgroupStat }
    expect(availableIn(memory)).toBe(10 * gib)
  })

  it('of a cgroup that says nothing is what Node takes it for', () => {
    expect(availableIn({ ...host, limit: 48 * gib, available: 2 * gib })).toBe(2 * gib)
  })

  it('is known of this machine', () => {
    expect(availableMemory()).toBeGreaterThan(0)
  })
})
