import { type Kysely, sql } from 'kysely'
import { nameKey } from '../../../domain/filename.ts'
import { isPostgres } from '../dialect.ts'
import { fileName } from './file-name.ts'

/** Records say which files are being deleted or were lost. Names are compared by their keys. */
export async function up(db: Kysely<never>): Promise<void> {
  for (const column of ['removing', 'file_lost', 'name_key']) {
    await db.schema.alterTable('job').addColumn(column, 'text').execute()
  }
  if (!isPostgres(db)) await fillNameKeys(db)
  await sql`
    create index job_by_name_key on job (name_key) where name_key is not null
  `.execute(db)
  await sql`create index job_removing on job (seq) where removing is not null`.execute(db)
  await sql`
    create index lost_job_by_file on job (${fileName(db)}) where file_lost is not null
  `.execute(db)
}

/** PostgreSQL has no jobs yet: only databases of later versions have ever been there. */
async function fillNameKeys(db: Kysely<never>): Promise<void> {
  // Not unique: two names of one key may exist already, and both stay.
  await sql`
    update job set name_key = lower(requested_filename) where requested_filename is not null
  `.execute(db)
  const others = await sql<{ seq: number; name: string }>`
    select seq, requested_filename as name from job where requested_filename glob '*[^ -~]*'
  `.execute(db)
  for (const { seq, name } of others.rows) {
    await sql`update job set name_key = ${nameKey(name)} where seq = ${seq}`.execute(db)
  }
}

export async function down(db: Kysely<never>): Promise<void> {
  for (const index of ['lost_job_by_file', 'job_removing', 'job_by_name_key']) {
    await db.schema.dropIndex(index).execute()
  }
  for (const column of ['name_key', 'file_lost', 'removing']) {
    await db.schema.alterTable('job').dropColumn(column).execute()
  }
}
