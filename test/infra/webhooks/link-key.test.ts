import { mkdtempSync, rmSync, statSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readLinkKey } from '../../../src/infra/webhooks/link-key.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'link-key-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

describe('the key that links are signed with', () => {
  it('is made once, is another one elsewhere, and is nobody else’s to read', () => {
    const path = join(directory, 'link.key')
    const key = readLinkKey(path)
    expect(key).toHaveLength(32)
    expect(readLinkKey(path)).toEqual(key)
    expect(readLinkKey(join(directory, 'other.key'))).not.toEqual(key)
    expect(statSync(path).mode & 0o777).toBe(0o600)
  })

  it('is made anew when only a part of it was written', () => {
    const path = join(directory, 'link.key')
    readLinkKey(path)
    truncateSync(path, 31)
    const key = readLinkKey(path)
    expect(key).toHaveLength(32)
    expect(readLinkKey(path)).toEqual(key)
  })
})
