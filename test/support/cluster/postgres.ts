/** A server of PostgreSQL for the tests of a file, and a database of the current schema for each test. */
import { randomBytes } from 'node:crypto'
import { migratePostgres } from '../../../src/infra/store/postgres/migrate-postgres.ts'
import { usePostgresServer } from '../store/postgres-stores.ts'

export function usePostgres() {
  const server = usePostgresServer()
  let template: Promise<string> | undefined
  return {
    server,
    /** A database without nodes and without a leader. */
    async aDatabase() {
      template ??= migratedDatabase()
      const name = `wan_${randomBytes(6).toString('hex')}`
      await server().query('postgres', `create database "${name}" template "${await template}"`)
      const query = <Row extends object>(text: string) => server().query<Row>(name, text)
      return { url: server().url(name), query }
    },
  }

  /** Name of a database whose copies take a fraction of the time of all migrations. */
  async function migratedDatabase(): Promise<string> {
    const url = await server().createDatabase()
    await migratePostgres(url)
    return new URL(url).pathname.slice(1)
  }
}

export type TestDatabase = Awaited<ReturnType<ReturnType<typeof usePostgres>['aDatabase']>>
