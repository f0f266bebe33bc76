/** A server of PostgreSQL for the tests of a file, and a database of the current schema for each test. */
import { randomBytes } from 'node:crypto'
import { migratePostgres } from '../../../src/infra/store/postgres/migrate-postgres.ts'
import { usePostgresServer } from '../store/postgres-stores.ts'

/** A copy takes a fraction of the time of all migrations. */
const template = 'migrated'

export function usePostgres() {
  const server = usePostgresServer()
  let migrated: Promise<unknown> | undefined
  return {
    server,
    /** A database without nodes and without a leader. */
    async aDatabase() {
      migrated ??= server()
        .createDatabase(template)
        .then((url) => migratePostgres(url))
      await migrated
      const name = `wan_${randomBytes(6).toString('hex')}`
      await server().query('postgres', `create database "${name}" template "${template}"`)
      const query = <Row extends object>(text: string) => server().query<Row>(name, text)
      return { url: server().url(name), query }
    },
  }
}

export type TestDatabase = Awaited<ReturnType<ReturnType<typeof usePostgres>['aDatabase']>>
