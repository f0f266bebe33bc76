/** Open jobs in the SQLite database of a machine whose service uses PostgreSQL. Nobody would run them. */
import { readFile, rename, writeFile } from 'node:fs/promises'
import SQLite from 'better-sqlite3'
import * as v from 'valibot'
import { explained, isEmptyFile } from '../sqlite/unusable-database.ts'
import { createPool, describeUrl } from './pool.ts'
import { toStoreError } from './postgres-errors.ts'

/** Longer than a server takes that is alive. */
const maxQueryMs = 5_000

type Databases = Readonly<{ stateDb: string; url: string }>

export type OpenJobs = Readonly<{
  /** All that `stateDb` has, by their ids. */
  all: readonly string[]
  /** Those without a record in PostgreSQL. */
  unmoved: readonly string[]
}>

/** Changes nothing. Rejects with `DatabaseUnreachableError` while PostgreSQL does not respond. */
export async function findOpenJobs({ stateDb, url }: Databases): Promise<OpenJobs> {
  const all = openJobsIn(stateDb)
  if (all.length === 0) return { all, unmoved: [] }
  const moved = new Set(await readMoved(stateDb))
  const others = all.filter((id) => !moved.has(id))
  return { all, unmoved: others.length > 0 ? await withoutRecord(others, url) : [] }
}

/** Notes that the jobs have been moved: after they have ended, PostgreSQL does not keep their records for good. */
export async function noteMoved({ stateDb }: Pick<Databases, 'stateDb'>, ids: readonly string[]) {
  if (ids.length === 0 || (await readMoved(stateDb)).join() === ids.join()) return
  const path = markerOf(stateDb)
  await writeFile(`${path}.new`, JSON.stringify(ids))
  await rename(`${path}.new`, path)
}

/** `hasJobs`: PostgreSQL has jobs. `wanctl migrate` needs a database without any. */
export function whyUnmoved(
  { stateDb, url }: Databases,
  { unmoved }: OpenJobs,
  { hasJobs }: Readonly<{ hasJobs: boolean }>,
): string | undefined {
  if (unmoved.length === 0) return undefined
  const jobs = unmoved.length === 1 ? '1 job' : `${unmoved.length} jobs`
  const place = describeUrl(url)
  const way = hasJobs
    ? `${place} has other jobs, and wanctl migrate needs a database without jobs. Start the service without ` +
      'DATABASE_URL until they have ended.'
    : `Move them: wanctl migrate --to, with the URL of ${place}.`
  return (
    `${stateDb} has ${jobs} that have not ended and are not in ${place}. ${way} To start without them, move that ` +
    `file, and ${stateDb}-wal if it exists, to another directory. The service then ends generations of these jobs ` +
    'that still run here.'
  )
}

function openJobsIn(path: string): readonly string[] {
  if (isEmptyFile(path)) return []
  return explained(path, () => {
    const sqlite = new SQLite(path, { readonly: true })
    try {
      const table = "select 1 from sqlite_master where type = 'table' and name = 'job'"
      if (!sqlite.prepare(table).get()) return []
      const open = "select id from job where status in ('queued', 'running') order by seq"
      return sqlite.prepare(open).pluck().all() as string[]
    } finally {
      sqlite.close()
    }
  })
}

async function withoutRecord(ids: readonly string[], url: string): Promise<readonly string[]> {
  const pool = await createPool(url, { max: 1, maxQueryMs })
  try {
    const { rows } = await pool.query<{ id: string }>('select id from job where id = any ($1)', [
      ids,
    ])
    const known = new Set(rows.map(({ id }) => id))
    return ids.filter((id) => !known.has(id))
  } catch (error) {
    if ((error as { code?: string }).code === noTable) return ids
    throw toStoreError(error)
  } finally {
    await pool.end()
  }
}

const noTable = '42P01'

const markerOf = (stateDb: string): string => `${stateDb}.moved`

const Ids = v.array(v.string())

/** A file that cannot be read counts as none: PostgreSQL is asked instead. */
async function readMoved(stateDb: string): Promise<readonly string[]> {
  const text = await readFile(markerOf(stateDb), 'utf8').catch(() => '[]')
  try {
    return v.parse(Ids, JSON.parse(text))
  } catch {
    return []
  }
}
