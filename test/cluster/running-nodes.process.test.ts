import { describe, expect, it } from 'vitest'
import { postgresMissing } from '../../bench/postgres.ts'
import { findRunningNode } from '../../src/cluster/running-nodes.ts'
import { aClusterDatabase, aMember } from '../support/cluster/members.ts'
import { usePostgres } from '../support/cluster/postgres.ts'

const missing = postgresMissing()

describe.skipIf(missing)('another node of the cluster', () => {
  const postgres = usePostgres()
  const look = async (url: string, me = 'me') =>
    findRunningNode((await aClusterDatabase(url)).beats, me, { lostMs: 600, lookMs: 50 })

  it('runs as long as it beats', async () => {
    const { url } = await postgres.aDatabase()
    const { membership } = await aMember(url, 'a')
    expect(await look(url)).toMatchObject({ name: 'a' })
    await membership.leave()
    expect(await look(url)).toBeUndefined()
  })

  it('does not run when its row stands still, as after a power cut, and when it is the one that asks', async () => {
    const { url, query } = await postgres.aDatabase()
    const { membership } = await aMember(url, 'a')
    expect(await look(url, 'a')).toBeUndefined()
    await membership.leave()
    await query(`update node set state = 'present'`)
    const begun = performance.now()
    expect(await look(url)).toBeUndefined()
    expect(performance.now() - begun).toBeGreaterThan(600)
  })
})
