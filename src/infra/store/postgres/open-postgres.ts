/** The database as a service uses it with `DATABASE_URL`. */
import { HandleEmptyInListsPlugin, Kysely, replaceWithNoncontingentExpression, sql } from 'kysely'
import type { Check } from '../../../domain/check.ts'
import { messageOf } from '../../../domain/errors.ts'
import type { GpuId } from '../../../domain/job.ts'
import { createJobCache } from '../../fast/job-cache.ts'
import { createEtaStore } from '../eta-store.ts'
import type { Database } from '../schema.ts'
import { transact } from '../transact.ts'
import type { Fence } from './fence.ts'
import { forArchive, forQueue } from './patient-reads.ts'
import { createPool, describeUrl, type PoolOptions } from './pool.ts'
import { createPostgresDialect } from './postgres-dialect.ts'
import { createPostgresJobStore } from './postgres-job-store.ts'
import { createWriter } from './writer.ts'

/** Time limits of statements, here and at the server. */
const defaultLimits = {
  /** Below the patience of a change, 3 s. */
  commitMs: 2_500,
  otherMs: 10_000,
}

export type PostgresSettings = Readonly<{
  url: string
  task: string
  gpuModels: ReadonlyMap<GpuId, string | undefined>
  limits?: typeof defaultLimits
}>

export type PostgresDatabase = Awaited<ReturnType<typeof openPostgres>>

/** Opens a migrated database. Connections are made when they are needed. */
export async function openPostgres(
  { url, task, gpuModels, limits = defaultLimits }: PostgresSettings,
  fence: Fence,
) {
  await using opening = new AsyncDisposableStack()
  const connect = async (options: PoolOptions) => {
    const { maxQueryMs } = options
    const dialect = createPostgresDialect(await createPool(url, options), { fence, maxQueryMs })
    const plugins = [new HandleEmptyInListsPlugin({ strategy: replaceWithNoncontingentExpression })]
    return opening.adopt(new Kysely<Database>({ dialect, plugins }), (db) => db.destroy())
  }
  const db = await connect({ max: 3, maxQueryMs: limits.otherMs })
  // Commits of jobs wait for no other query.
  const writer = createWriter(await connect({ max: 1, maxQueryMs: limits.commitMs }))
  const cache = createJobCache()
  const storeOf = () =>
    createPostgresJobStore(db, {
      line: writer.openLine(),
      context: { task, gpuModels },
      cache,
    })
  const opened = opening.move()
  return {
    db,
    /** Each actor that changes jobs has a store of its own. */
    jobs: { queue: forQueue(storeOf()), archive: forArchive(storeOf()) },
    eta: createEtaStore(db, { task }),
    check: () => check(db, url),
    async bytes(): Promise<number> {
      const { rows } = await sql<{ bytes: number }>`
          select pg_database_size(current_database()) as bytes
        `.execute(db)
      return rows[0]?.bytes ?? 0
    },
    close: () => opened.disposeAsync(),
  }
}

/** Each transaction changes the row of the leader. */
async function check(db: Kysely<Database>, url: string): Promise<Check> {
  const place = describeUrl(url)
  try {
    await transact(db, async () => {})
    return { name: 'database', ok: true, detail: place }
  } catch (error) {
    const detail = `${place} cannot be written: ${messageOf(error)}. docs/operations.md says why that may be.`
    return { name: 'database', ok: false, detail }
  }
}
