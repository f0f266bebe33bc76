/** Connections to PostgreSQL. The driver is loaded when the first pool is created, and not without one. */
import type { Pool, PoolConfig } from 'pg'

/** Shorter than the patience of a request, 5 s. */
const maxConnectMs = 3_000

export type PoolOptions = Readonly<{
  max: number
  /** Time limit of a query; `undefined`: none. A silent network would hold it for ever. */
  maxQueryMs?: number
}>

export async function createPool(url: string, { max, maxQueryMs }: PoolOptions): Promise<Pool> {
  const pg = (await import('pg')).default
  const config: PoolConfig = {
    connectionString: url,
    application_name: 'wan-supervisor',
    max,
    connectionTimeoutMillis: maxConnectMs,
    keepAlive: true,
    // Numbers of this service are below 2 ** 53. The driver returns 64 bits as text.
    types: {
      getTypeParser: (type, format) =>
        type === pg.types.builtins.INT8 || type === pg.types.builtins.NUMERIC
          ? Number
          : pg.types.getTypeParser(type, format),
    },
    ...(maxQueryMs !== undefined && { query_timeout: maxQueryMs }),
  }
  const pool = new pg.Pool(config)
  // A connection that is lost while nobody uses it leaves the pool by itself.
  pool.on('error', () => {})
  pool.on('connect', (client) => client.on('error', () => {}))
  return pool
}

/** The database for people: without user and password. */
export function describeUrl(url: string): string {
  const { hostname, port, pathname } = new URL(url)
  return `PostgreSQL at ${hostname}${port ? `:${port}` : ''}, database ${decodeURIComponent(pathname.slice(1))}`
}
