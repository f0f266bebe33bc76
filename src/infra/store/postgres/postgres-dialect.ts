/** Kysely over a pool of connections, whose transactions are fenced and whose errors callers know. */
import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type QueryResult,
} from 'kysely'
import type { QueryResult as PgResult, Pool, PoolClient } from 'pg'
import { DatabaseUnreachableError } from '../../../domain/errors.ts'
import { beginText } from '../transact.ts'
import {
  beginOf,
  beginToRead,
  type Fence,
  parseBegin,
  TermOverError,
  type TransactionLimits,
} from './fence.ts'
import { isAborted, isConnectionLost, toStoreError } from './postgres-errors.ts'

export type PostgresDialectOptions = Readonly<{ fence: Fence; maxQueryMs?: number | undefined }>

export const createPostgresDialect = (pool: Pool, options: PostgresDialectOptions): Dialect => ({
  createDriver: () => createDriver(pool, options),
  createQueryCompiler: () => new PostgresQueryCompiler(),
  createAdapter: () => new PostgresAdapter(),
  createIntrospector: (db) => new PostgresIntrospector(db),
})

function createDriver(pool: Pool, options: PostgresDialectOptions): Driver {
  const run = async (connection: DatabaseConnection, text: string) => {
    await connection.executeQuery(CompiledQuery.raw(text))
  }
  return {
    async init() {},
    async acquireConnection() {
      const client = await pool.connect().catch((error: unknown) => {
        throw toStoreError(error)
      })
      return new FencedConnection(client, options)
    },
    beginTransaction: (connection) => run(connection, beginText),
    commitTransaction: (connection) => run(connection, 'commit'),
    rollbackTransaction: (connection) => run(connection, 'rollback'),
    async releaseConnection(connection) {
      if (connection instanceof FencedConnection) connection.release()
    },
    destroy: () => pool.end(),
  }
}

const reads = /^\s*(?:select|with)\b/i
/** A change that locks the row of the leader itself, and for no longer than it takes the server. */
const fenced = /^\s*with fence\b/i
const ends = /^\s*(?:commit|rollback)\s*$/i
const changes: ReadonlySet<string> = new Set(['INSERT', 'UPDATE', 'DELETE'])

class FencedConnection implements DatabaseConnection {
  readonly #client: PoolClient
  readonly #options: PostgresDialectOptions
  #isInTransaction = false
  /** Begin of the present transaction, if it is fenced, by the monotonic clock. */
  #beganAt: number | undefined
  /** First error of the present transaction. PostgreSQL answers later statements with its consequence alone. */
  #failure: unknown
  #isBroken = false

  constructor(client: PoolClient, options: PostgresDialectOptions) {
    this.#client = client
    this.#options = options
  }

  async executeQuery<Row>({ sql, parameters }: CompiledQuery): Promise<QueryResult<Row>> {
    const { command, rowCount, rows } = await this.#run(sql, parameters)
    return {
      rows: rows as Row[],
      ...(changes.has(command) && { numAffectedRows: BigInt(rowCount ?? 0) }),
    }
  }

  streamQuery(): never {
    throw new Error('no query is streamed from PostgreSQL')
  }

  /** A connection in a transaction would make its next user part of that. */
  release(): void {
    this.#client.release(this.#isBroken || this.#isInTransaction)
  }

  async #run(text: string, parameters: readonly unknown[]): Promise<PgResult> {
    const begin = parseBegin(text)
    if (begin) return this.#begin(begin.number)
    if (ends.test(text)) return this.#end(text)
    if (this.#isInTransaction || fenced.test(text)) return this.#send(text, parameters)
    return reads.test(text) ? this.#readAlone(text, parameters) : this.#runAlone(text, parameters)
  }

  /** In a transaction, since the server has a time limit there alone. */
  async #readAlone(text: string, parameters: readonly unknown[]): Promise<PgResult> {
    this.#isInTransaction = true
    try {
      await this.#send(beginToRead(this.#limits()))
      return await this.#send(text, parameters)
    } finally {
      if (!this.#isBroken) await this.#end('rollback')
    }
  }

  /** A change outside of a transaction is one by itself. */
  async #runAlone(text: string, parameters: readonly unknown[]): Promise<PgResult> {
    await this.#begin()
    try {
      const result = await this.#send(text, parameters)
      await this.#end('commit')
      return result
    } catch (error) {
      if (!this.#isBroken) await this.#end('rollback')
      throw error
    }
  }

  #limits = (): TransactionLimits => ({ maxStatementMs: this.#options.maxQueryMs })

  async #begin(number?: number): Promise<PgResult> {
    const { fence } = this.#options
    const { term } = fence
    this.#isInTransaction = true
    this.#beganAt = undefined
    this.#failure = undefined
    const beganAt = performance.now()
    const results = [await this.#send(beginOf({ term }, this.#limits(), number))].flat()
    const last = results.at(-1) as PgResult
    if (term === undefined) return last
    if (last.rowCount === 1) {
      this.#beganAt = beganAt
      return last
    }
    await this.#end('rollback')
    const error = new TermOverError(`Another node leads: term ${term} of this one is over.`)
    fence.onOver(error)
    throw error
  }

  async #end(text: string): Promise<PgResult> {
    try {
      const result = await this.#send(text)
      this.#isInTransaction = false
      const beganAt = this.#beganAt
      this.#beganAt = undefined
      if (beganAt !== undefined && text === 'commit') this.#options.fence.onCommitted?.(beganAt)
      return result
    } catch (error) {
      const isLost = error instanceof DatabaseUnreachableError && text === 'commit'
      throw isLost
        ? new DatabaseUnreachableError(error.message, { cause: error.cause, mayBeStored: true })
        : error
    }
  }

  async #send(text: string, parameters: readonly unknown[] = []): Promise<PgResult> {
    // Behind a statement without an answer, another one would wait for its time limit too.
    if (this.#isBroken) throw new DatabaseUnreachableError('the connection to PostgreSQL is lost')
    try {
      // Without parameters the text may have several statements.
      return parameters.length === 0
        ? await this.#client.query(text)
        : await this.#client.query(text, parameters.map(storable))
    } catch (error) {
      const known = toStoreError(error)
      if (error instanceof Error && isConnectionLost(error)) this.#isBroken = true
      if (isAborted(known) && this.#failure !== undefined) throw this.#failure
      this.#failure = known
      throw known
    }
  }
}

/** PostgreSQL stores no U+0000 in a text. U+FFFD stands for a character that cannot be shown. */
export const storable = (value: unknown): unknown =>
  typeof value === 'string' && value.includes('\0') ? value.replaceAll('\0', '\uFFFD') : value
