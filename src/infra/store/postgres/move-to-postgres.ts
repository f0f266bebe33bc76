/** Moves all rows of a SQLite database into an empty PostgreSQL database, and compares them there. */
import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import SQLite from 'better-sqlite3'
import { CompiledQuery, Kysely, sql } from 'kysely'
import type { GpuId } from '../../../domain/job.ts'
import { soleNode } from '../../../domain/node.ts'
import type { Database } from '../schema.ts'
import { transact } from '../transact.ts'
import { UnusableDatabaseError } from '../unusable-database.ts'
import { inspectSchema, migratePostgres } from './migrate-postgres.ts'
import { type MovedImages, type MovedNode, moveGpus, moveImages } from './move-node.ts'
import { createPool, describeUrl } from './pool.ts'
import { createPostgresDialect, storable } from './postgres-dialect.ts'

/** In an order in which each row refers to rows that are there. */
const tables = [
  'job',
  'attempt',
  'gpu',
  'webhook',
  'delivery',
  'delivery_clock',
  'submission',
  'estimate',
  'clock',
] as const

type TableName = (typeof tables)[number]
type Row = Readonly<Record<string, unknown>>

export type Moved = Readonly<{
  outcome: 'moved' | 'was there already'
  /** Number of rows. */
  rows: Readonly<Record<TableName, number>>
  /** Numbers of GPUs that are those of this node. */
  gpus: readonly GpuId[]
  images: MovedImages
}>

export type MoveOptions = Readonly<{
  /** A database of the latest schema that no service uses. */
  stateDb: string
  url: string
  /** The machine of the source. */
  node: MovedNode
  onProgress?(table: TableName, done: number, total: number): void
}>

/** Less than PostgreSQL takes parameters in one statement, 65,535, with all columns of a job. */
const rowsAtOnce = 500

/** After so long without a beat other services take the place of a leader. */
const beatWaitMs = 3_500

/**
 * All or nothing, but for the schema. Rejects with `UnusableDatabaseError` where a service uses the target, or where it has jobs
 * that the source does not have.
 */
export async function moveToPostgres({
  stateDb,
  url,
  node,
  onProgress,
}: MoveOptions): Promise<Moved> {
  const source = new SQLite(stateDb, { readonly: true })
  const pool = await createPool(url, { max: 1 })
  const fence = { term: undefined, onOver() {} }
  const db = new Kysely<Database>({
    dialect: createPostgresDialect(pool, { fence }),
  })
  try {
    const { hasNodes } = await inspectSchema(url)
    if (hasNodes) await refuseWhileInUse(db, url)
    await migratePostgres(url)
    const wanted = new Map(tables.map((table) => [table, digestOfSource(source, table)]))
    const rows = Object.fromEntries(
      tables.map((table) => [table, wanted.get(table)?.rows ?? 0]),
    ) as Record<TableName, number>
    return await transact(db, async (target) => {
      // No service takes the lead until the end of this, and none that has led commits any more.
      await target
        .updateTable('leader')
        .set(({ eb }) => ({ term: eb('term', '+', 1), node: '', home: '' }))
        .execute()
      const wasThere = await isMoved(target, wanted)
      if (!wasThere) {
        await refuseOthersJobs(target, url)
        for (const table of tables) await copy(source, target, table, rows[table], onProgress)
        await continueNumbers(target)
        if (!(await isMoved(target, wanted))) {
          throw new Error(
            `What was written to ${describeUrl(url)} is not what ${stateDb} holds; nothing of it was kept.`,
          )
        }
      }
      await moveDrain(source, target, node)
      return {
        outcome: wasThere ? 'was there already' : 'moved',
        rows,
        gpus: await moveGpus(target, node),
        images: await moveImages(target, node),
      } as const
    })
  } finally {
    source.close()
    await db.destroy()
  }
}

/** A service that runs would not know what is written beside it. */
async function refuseWhileInUse(db: Kysely<Database>, url: string): Promise<void> {
  const beat = async () =>
    db.selectFrom('leader').select(['term', 'node', 'beat']).executeTakeFirstOrThrow()
  const before = await beat()
  if (before.node === '') return
  await delay(beatWaitMs)
  const { term, node, beat: now } = await beat()
  if (term === before.term && now === before.beat) return
  throw new UnusableDatabaseError(
    `A wan-supervisor, on ${node}, uses ${describeUrl(url)}. Stop it first.`,
  )
}

async function refuseOthersJobs(target: Kysely<Database>, url: string): Promise<void> {
  for (const table of ['job', 'webhook'] as const) {
    const found = await target.selectFrom(table).select('id').limit(1).executeTakeFirst()
    if (found) {
      throw new UnusableDatabaseError(
        `${describeUrl(url)} has jobs or webhooks that are not those of this database, and two ` +
          'installations cannot become one. Give an empty database.',
      )
    }
  }
}

async function copy(
  source: SQLite.Database,
  target: Kysely<Database>,
  table: TableName,
  total: number,
  onProgress: MoveOptions['onProgress'],
): Promise<void> {
  // Rows of a migration, or of a service that had no jobs yet.
  await target.deleteFrom(table).execute()
  let done = 0
  for (const rows of pagesOf(source, table)) {
    const columns = Object.keys(rows[0] ?? {})
    const insertion = sql`
      insert into ${sql.table(table)} (${sql.join(columns.map((column) => sql.ref(column)))})
      values ${sql.join(rows.map((row) => sql`(${sql.join(columns.map((column) => row[column]))})`))}
    `
    await insertion.execute(target)
    done += rows.length
    onProgress?.(table, done, total)
  }
}

/** Without a cluster, the machine has another name. */
async function moveDrain(
  source: SQLite.Database,
  target: Kysely<Database>,
  { name }: MovedNode,
): Promise<void> {
  if (!source.prepare('select 1 from drained_node where name = ?').get(soleNode)) return
  await target
    .insertInto('drained_node')
    .values({ name })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
}

/** Rows that come next are numbered behind those that were moved. */
async function continueNumbers(target: Kysely<Database>): Promise<void> {
  await sql`
    select setval(pg_get_serial_sequence('delivery', 'seq'), coalesce(max(seq), 0) + 1, false)
    from delivery
  `.execute(target)
}

type Digest = Readonly<{ rows: number; sum: string }>

async function isMoved(
  target: Kysely<Database>,
  wanted: ReadonlyMap<TableName, Digest>,
): Promise<boolean> {
  for (const [table, { rows, sum }] of wanted) {
    const found = await digestOfTarget(target, table)
    if (found.rows !== rows || found.sum !== sum) return false
  }
  return true
}

function digestOfSource(source: SQLite.Database, table: TableName): Digest {
  const digest = createDigest()
  for (const rows of pagesOf(source, table)) for (const row of rows) digest.add(row)
  return digest.result()
}

async function digestOfTarget(target: Kysely<Database>, table: TableName): Promise<Digest> {
  const digest = createDigest()
  await target.executeQuery(
    CompiledQuery.raw(`declare moved no scroll cursor for select * from ${table}`),
  )
  for (;;) {
    const { rows } = await sql<Row>`${sql.raw(`fetch ${rowsAtOnce} from moved`)}`.execute(target)
    if (rows.length === 0) break
    for (const row of rows) digest.add(row)
  }
  await target.executeQuery(CompiledQuery.raw('close moved'))
  return digest.result()
}

/** The sum of the hashes of rows: it does not depend on their order. */
function createDigest() {
  let rows = 0
  let sum = 0n
  return {
    add(row: Row) {
      const fields = Object.entries(row)
        .filter(([column]) => column !== computed)
        .toSorted(([one], [other]) => (one < other ? -1 : 1))
        .map(([column, value]) => [column, storable(value)])
      const hash = createHash('sha256').update(JSON.stringify(fields)).digest('hex')
      rows++
      sum = (sum + BigInt(`0x${hash}`)) % 2n ** 256n
    },
    result: (): Digest => ({ rows, sum: sum.toString(16) }),
  }
}

/** The database computes it from the rest of the row. */
const computed = 'file_bytes'

function* pagesOf(source: SQLite.Database, table: TableName): Generator<readonly Row[]> {
  let page: Row[] = []
  for (const row of source.prepare(`select * from ${table}`).iterate()) {
    const { [computed]: _, ...stored } = row as Record<string, unknown>
    page.push(stored)
    if (page.length === rowsAtOnce) {
      yield page
      page = []
    }
  }
  if (page.length > 0) yield page
}
