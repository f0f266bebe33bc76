/** A server of PostgreSQL for the tests of a file, and a database with the tables of a cluster for each test. */
import { afterAll, beforeAll } from 'vitest'
import { type PostgresServer, startPostgresServer } from '../../../bench/postgres.ts'
import { clusterTables } from '../../../src/cluster/tables.ts'

export function usePostgres(options: { isDurable?: boolean } = { isDurable: false }) {
  let server: PostgresServer | undefined
  beforeAll(async () => {
    server = await startPostgresServer(options)
  })
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]()
  })
  const get = (): PostgresServer => {
    if (!server) throw new Error('the server has not started')
    return server
  }
  return {
    server: get,
    /** A database without nodes and without a leader. */
    async aDatabase() {
      const url = await get().createDatabase()
      const name = new URL(url).pathname.slice(1)
      const query = <Row extends object>(text: string) => get().query<Row>(name, text)
      await query(clusterTables)
      return { url, query }
    },
  }
}

export type TestDatabase = Awaited<ReturnType<ReturnType<typeof usePostgres>['aDatabase']>>
