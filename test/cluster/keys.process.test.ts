import { describe, expect, it } from 'vitest'
import { postgresMissing } from '../../bench/postgres.ts'
import { readClusterKeys } from '../../src/cluster/keys.ts'
import { aClusterDatabase } from '../support/cluster/members.ts'
import { usePostgres } from '../support/cluster/postgres.ts'

const missing = postgresMissing()

describe.skipIf(missing)(`keys of a cluster on PostgreSQL${missing ? `: ${missing}` : ''}`, () => {
  const postgres = usePostgres()

  it('are random, of 32 bytes, and the same for 8 nodes that read them at once', async () => {
    const { url } = await postgres.aDatabase()
    const databases = await Promise.all(Array.from({ length: 8 }, () => aClusterDatabase(url)))
    const all = await Promise.all(databases.map(({ beats }) => readClusterKeys(beats)))
    const [{ secret, linkKey } = { secret: '', linkKey: Buffer.of() }] = all
    expect(all).toEqual(Array(8).fill({ secret, linkKey }))
    expect(secret).toMatch(/^[\w-]{43}$/)
    expect(linkKey).toHaveLength(32)
    expect(linkKey.toString('base64url')).not.toBe(secret)
    const { url: other } = await postgres.aDatabase()
    const others = await readClusterKeys((await aClusterDatabase(other)).beats)
    expect(others.secret).not.toBe(secret)
    expect(others.linkKey).not.toEqual(linkKey)
  })

  it('sign links with the key of the first node, and not with that of a later one', async () => {
    const { url } = await postgres.aDatabase()
    const { beats } = await aClusterDatabase(url)
    const [first, later] = [Buffer.alloc(32, 'first'), Buffer.alloc(32, 'later')]
    expect((await readClusterKeys(beats, first)).linkKey).toEqual(first)
    expect((await readClusterKeys(beats, later)).linkKey).toEqual(first)
  })
})
