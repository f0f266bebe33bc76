import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { connectionLimits } from '../../../src/http/connections/connection-limits.ts'
import { parseFileLimit, readFileLimit } from '../../../src/infra/machine/file-limit.ts'

describe('the number of connections', () => {
  it.each([
    [1_048_576, 2_000],
    [4_096, 1_984],
    [1_024, 448],
    [256, 64],
    [64, 16],
    [Infinity, 2_000],
  ])('follows from %i open files: %i', (maxFiles, maxConnections) => {
    expect(connectionLimits({ maxFiles, gpus: 2, trustedProxies: 0 })).toMatchObject({
      maxConnections,
      maxPerAddress: maxConnections / 2,
    })
  })

  it('is not limited for one address behind a proxy', () => {
    const limits = connectionLimits({ maxFiles: Infinity, gpus: 2, trustedProxies: 1 })
    expect(limits.maxPerAddress).toBe(limits.maxConnections)
  })

  it('leaves descriptors for jobs, however many are used by downloads', () => {
    fc.assert(
      fc.property(fc.integer({ min: 256, max: 10_000 }), fc.nat({ max: 8 }), (maxFiles, gpus) => {
        const { maxConnections } = connectionLimits({ maxFiles, gpus, trustedProxies: 0 })
        if (maxConnections > 16)
          expect(maxFiles - 2 * maxConnections).toBeGreaterThanOrEqual(96 + 16 * gpus)
      }),
    )
  })
})

describe('the limit of open files', () => {
  const line = (soft: string) =>
    `Limit                     Soft Limit           Hard Limit           Units\nMax open files            ${soft}                 1048576              files\n`

  it.each([
    ['1024', 1_024],
    ['unlimited', Infinity],
  ])('is read from the system: %s', (soft, limit) => {
    expect(parseFileLimit(line(soft))).toBe(limit)
  })

  it('is the usual one where it cannot be read', () => {
    expect(readFileLimit('/nowhere')).toBe(1_024)
    expect(parseFileLimit('')).toBe(1_024)
  })

  it('is known here', () => {
    expect(readFileLimit()).toBeGreaterThan(16)
  })
})
