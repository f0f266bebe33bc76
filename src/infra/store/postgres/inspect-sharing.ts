import { createPool } from './pool.ts'
import { toStoreError } from './postgres-errors.ts'

/** Longer than a server takes that is alive. */
const maxQueryMs = 5_000

/** `results`: id of the directory that the nodes share. */
export type Sharing = Readonly<{ secret: string; results: string | null }>

/** Undefined: no node of this version has used the database yet. */
export async function inspectSharing(url: string): Promise<Sharing | undefined> {
  const pool = await createPool(url, { max: 1, maxQueryMs })
  try {
    const { rows } = await pool.query<Sharing>('select secret, results from cluster_key')
    return rows[0]
  } catch (error) {
    if (isMissing(error)) return undefined
    throw toStoreError(error)
  } finally {
    await pool.end()
  }
}

/** The table, or its column. */
const isMissing = (error: unknown): boolean =>
  ['42P01', '42703'].includes((error as { code?: string }).code ?? '')
