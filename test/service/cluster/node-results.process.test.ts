import type { QueryResultRow } from 'pg'
import { describe, expect, it } from 'vitest'
import type { Connection } from '../../../src/cluster/database.ts'
import { readClusterKeys } from '../../../src/cluster/keys.ts'
import { readConfig } from '../../../src/config/config.ts'
import { readMarker } from '../../../src/infra/disk/results-directory.ts'
import { openNodeResults } from '../../../src/service/cluster/node-results.ts'
import { aClusterDatabase, noLog } from '../../support/cluster/members.ts'
import { usePostgres } from '../../support/cluster/postgres.ts'
import { aDataDirectory } from '../../support/service.ts'
import { missing } from '../../support/store/postgres-stores.ts'

describe.skipIf(missing)('nodes that begin to share a directory at once', () => {
  const postgres = usePostgres()

  it('share the one that is recorded first, and those with another one are refused', async () => {
    const { url: DATABASE_URL, query } = await postgres.aDatabase()
    const directories = [aDataDirectory(), aDataDirectory()]
    const start = async (n: number) =>
      openNodeResults(await aNode(DATABASE_URL, `n${n}`, directories[n % 2] ?? ''))
    const started = await Promise.allSettled(Array.from({ length: 8 }, (_, n) => start(n)))
    const [row] = await query<{ results: string }>('select results from cluster_key')
    const markers = await Promise.all(directories.map(readMarker))
    expect(markers).toContain(row?.results)
    for (const [n, result] of started.entries()) {
      if (markers[n % 2] === row?.results) expect(result).toMatchObject({ status: 'fulfilled' })
      else
        expect(result).toMatchObject({
          reason: expect.objectContaining({
            message: expect.stringContaining('is not the directory that this cluster shares'),
          }),
        })
    }
  })

  it('refuse a directory that is not the one recorded while they look', async () => {
    const { url, query } = await postgres.aDatabase()
    const directory = aDataDirectory()
    const { connection, ...node } = await aNode(url, 'n0', directory)
    let isFirst = true
    const overtaken: Connection = {
      ...connection,
      async query<Row extends QueryResultRow>(text: string, values?: unknown[]) {
        const answer = await connection.query<Row>(text, values)
        if (isFirst) await query(`update cluster_key set results = 'another'`)
        isFirst = false
        return answer
      },
    }
    await expect(openNodeResults({ ...node, connection: overtaken })).rejects.toThrow(
      'is not the directory that this cluster shares',
    )
  })
})

async function aNode(DATABASE_URL: string, name: string, RESULTS_DIR: string) {
  const config = readConfig({
    ...{ DATABASE_URL, RESULTS_DIR, RESULTS_SHARED: '1' },
    NODE_URL: 'http://127.0.0.1:0',
  })
  const { beats: connection } = await aClusterDatabase(DATABASE_URL)
  const { secret } = await readClusterKeys(connection)
  return { config, connection, me: { name, home: `home-${name}` }, secret, log: noLog }
}
