/** Connections of a node to the database of the cluster: one for beats, one for mail, and one that listens. */
import { Socket } from 'node:net'
import type { Pool, QueryResultRow } from 'pg'
import type { Look } from './watch.ts'

/** The values of a row arrive as `pg` reads them: a bigint is a string. */
export type Answer<Row> = Look & Readonly<{ rows: Row[]; count: number }>

export type Connection = {
  /**
   * Rejects after the time limits of a connect and of a statement at the latest. The statement may have been
   * carried out all the same.
   */
  query<Row extends QueryResultRow>(text: string, values?: unknown[]): Promise<Answer<Row>>
}

export type ListeningConnection = Readonly<{
  ended: Promise<void>
  /** Also ends one whose network is silent. */
  end(): void
}>

export type ClusterDatabase = {
  /** Mail must not keep beats waiting. */
  readonly beats: Connection
  readonly mail: Connection
  /** Opens a connection that listens to this channel. */
  openListener(channel: string, heard: (payload: string) => void): Promise<ListeningConnection>
  close(): Promise<void>
}

export type DatabaseOptions = Readonly<{
  url: string
  /** Time limit of a connect and of a statement, by the clock of this process: a silent network reports nothing. */
  limitMs?: number
  /** Time of the monotonic clock, in milliseconds. */
  monotonicNow?: () => number
}>

/** Below the time after which others elect, so that a leader tries twice. */
const defaultLimitMs = 1_400

/** Detects a peer that vanished while a connection is idle. */
const keepAliveDelayMs = 5_000

export async function openClusterDatabase({
  url,
  limitMs = defaultLimitMs,
  monotonicNow = () => performance.now(),
}: DatabaseOptions): Promise<ClusterDatabase> {
  // Services without a cluster do not load it.
  const pg = await import('pg')
  const settings = {
    connectionString: url,
    connectionTimeoutMillis: limitMs,
    query_timeout: limitMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: keepAliveDelayMs,
    application_name: 'wan-supervisor cluster',
  }
  const pools: Pool[] = []

  return {
    beats: connection(),
    mail: connection(),
    async openListener(channel, heard) {
      const socket = new Socket()
      const client = new pg.Client({ ...settings, stream: () => socket })
      const ended = new Promise<void>((resolve) => client.on('end', () => resolve()))
      client.on('error', () => {}) // `end` follows.
      client.on('notification', ({ payload }) => heard(payload ?? ''))
      const end = () => void socket.destroy()
      try {
        await client.connect()
        await client.query(`listen ${channel}`)
        return { ended, end }
      } catch (error) {
        end()
        throw error
      }
    },
    async close() {
      await Promise.all(pools.map((pool) => pool.end()))
    },
  }

  function connection(): Connection {
    const pool = new pg.Pool({ ...settings, max: 1, idleTimeoutMillis: 0 })
    // The next statement finds out.
    pool.on('error', () => {})
    pools.push(pool)
    return {
      async query<Row extends QueryResultRow>(text: string, values: unknown[] = []) {
        const askedAt = monotonicNow()
        const { rows, rowCount } = await pool.query<Row>(text, values)
        return { rows, count: rowCount ?? 0, askedAt, answeredAt: monotonicNow() }
      },
    }
  }
}
