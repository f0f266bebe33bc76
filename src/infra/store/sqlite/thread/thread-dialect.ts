/**
 * Kysely over two connections: queries run here, on a connection that can only read. Changes run on the
 * database thread, and so does everything between the begin and the end of a transaction.
 */
import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
  SqliteAdapter,
  type SqliteDatabase,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely'
import type { StatementResult } from '../database.ts'
import type { DatabaseThread } from './database-thread.ts'

type Statements = Pick<DatabaseThread, 'run' | 'end'>

export const createThreadDialect = (reader: SqliteDatabase, thread: Statements): Dialect => ({
  createDriver: () => createDriver(reader, thread),
  createQueryCompiler: () => new SqliteQueryCompiler(),
  createAdapter: () => new ThreadAdapter(),
  createIntrospector: (db) => new SqliteIntrospector(db),
})

class ThreadAdapter extends SqliteAdapter {
  /** Reads do not wait for the transaction of somebody else. */
  override get supportsMultipleConnections(): boolean {
    return true
  }
}

function createDriver(reader: SqliteDatabase, thread: Statements): Driver {
  const run = async (connection: DatabaseConnection, sql: string) => {
    await connection.executeQuery(CompiledQuery.raw(sql))
  }
  return {
    async init() {},
    acquireConnection: async () => new ThreadConnection(reader, thread),
    beginTransaction: (connection) => run(connection, 'begin immediate'),
    commitTransaction: (connection) => run(connection, 'commit'),
    rollbackTransaction: (connection) => run(connection, 'rollback'),
    async releaseConnection(connection) {
      if (connection instanceof ThreadConnection) connection.release()
    },
    async destroy() {},
  }
}

let lastSession = 0

class ThreadConnection implements DatabaseConnection {
  readonly #reader: SqliteDatabase
  readonly #thread: Statements
  /** On the thread, from the first change to the release of this connection. */
  #session: number | undefined

  constructor(reader: SqliteDatabase, thread: Statements) {
    this.#reader = reader
    this.#thread = thread
  }

  async executeQuery<Row>({ sql, parameters }: CompiledQuery): Promise<QueryResult<Row>> {
    if (this.#session === undefined && reads.test(sql)) {
      return { rows: this.#reader.prepare(sql).all(parameters) as Row[] }
    }
    this.#session ??= ++lastSession
    const result: StatementResult = await this.#thread.run(this.#session, sql, parameters)
    if ('rows' in result) return { rows: result.rows as Row[] }
    const { changes, lastInsertRowid } = result
    return { rows: [], numAffectedRows: BigInt(changes), insertId: BigInt(lastInsertRowid) }
  }

  streamQuery(): never {
    throw new Error('the database thread streams no queries')
  }

  release(): void {
    if (this.#session !== undefined) this.#thread.end(this.#session)
    this.#session = undefined
  }
}

const reads = /^\s*(select|with)\b/i
