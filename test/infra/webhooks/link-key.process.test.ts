import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readLinkKey } from '../../../src/infra/webhooks/link-key.ts'
import { aSmallDisk, canMount } from '../../support/disk/small-disk.ts'

describe('the key that links are signed with', () => {
  it.skipIf(!canMount)('is good for one life when the disk is full, and then for good', () => {
    const disk = aSmallDisk({ mib: 1 })
    const path = join(disk.path, 'link.key')
    disk.fill()
    const key = readLinkKey(path)
    expect(key).toHaveLength(32)
    expect(readLinkKey(path)).not.toEqual(key)
    disk.makeRoom()
    const kept = readLinkKey(path)
    expect(readLinkKey(path)).toEqual(kept)
  })
})
