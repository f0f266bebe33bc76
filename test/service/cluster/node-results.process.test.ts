import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
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
    const root = aDataDirectory()
    const directories = ['x', 'y'].map((name) => join(root, name))
    for (const directory of directories) mkdirSync(directory)
    const start = async (n: number) => {
      const RESULTS_DIR = directories[n % 2]
      const config = readConfig({
        ...{ DATABASE_URL, RESULTS_DIR, RESULTS_SHARED: '1' },
        NODE_URL: 'http://127.0.0.1:0',
      })
      const { beats: connection } = await aClusterDatabase(DATABASE_URL)
      const { secret } = await readClusterKeys(connection)
      const me = { name: `n${n}`, home: `home-${n}` }
      return openNodeResults({ config, connection, me, secret, log: noLog })
    }
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
})
