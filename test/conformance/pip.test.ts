import { describe, expect, it } from 'vitest'
import { hasNoNetwork } from './pip.ts'

const broken =
  "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by 'NewConnectionError('Failed to establish a new connection: [Errno -3] Temporary failure in name resolution')': /simple/anyio/"
const notFound = 'ERROR: No matching distribution found for anyio==4.16.0'

describe('output of pip', () => {
  it('tells of no network when connections break and nothing is found', () => {
    expect(hasNoNetwork([broken, notFound].join('\n'))).toBe(true)
  })

  it('tells of a wrong pin when the index answers and has no such version', () => {
    expect(hasNoNetwork(notFound)).toBe(false)
  })

  it('tells of a wrong hash when a connection breaks once before', () => {
    const mismatch =
      'ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated the package versions, please update the hashes.'
    expect(hasNoNetwork([broken, mismatch].join('\n'))).toBe(false)
  })
})
