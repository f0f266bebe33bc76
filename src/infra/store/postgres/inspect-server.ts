import { UnusableDatabaseError } from '../unusable-database.ts'
import { createPool, describeUrl } from './pool.ts'
import { toStoreError } from './postgres-errors.ts'

/** Older versions are not tested. */
const minVersion = 150_000

/** Longer than a server takes that is alive. */
const maxQueryMs = 5_000

export type Server = Readonly<{
  version: string
}>

/** Rejects with `UnusableDatabaseError`, or with `DatabaseUnreachableError`. */
export async function inspectServer(url: string): Promise<Server> {
  const pool = await createPool(url, { max: 1, maxQueryMs })
  try {
    const { rows } = await pool.query<{
      number: number
      version: string
      confirms: string
      encoding: string
    }>(`
      select current_setting('server_version_num')::int as number,
        current_setting('server_version') as version,
        current_setting('server_encoding') as encoding
    `)
    const [server] = rows
    if (!server || server.number < minVersion) {
      throw new UnusableDatabaseError(
        `${describeUrl(url)} is version ${server?.version}. ` +
          `Use PostgreSQL ${minVersion / 10_000} or newer.`,
      )
    }
    if (server.encoding !== 'UTF8') {
      throw new UnusableDatabaseError(
        `${describeUrl(url)} has the encoding ${server.encoding}, in which not every prompt can be ` +
          "stored. Create it anew: create database … encoding 'UTF8' template template0",
      )
    }
    return { version: server.version }
  } catch (error) {
    throw toStoreError(error)
  } finally {
    await pool.end()
  }
}
