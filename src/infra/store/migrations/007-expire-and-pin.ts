import { type Kysely, sql } from 'kysely'
import { isPostgres } from '../dialect.ts'
import { fileName } from './file-name.ts'

/** Which jobs are kept, which have expired, and what is to be known to say which come next. */
export async function up(db: Kysely<never>): Promise<void> {
  await db.schema.alterTable('job').addColumn('expired_at', 'integer').execute()
  await db.schema.alterTable('job').addColumn('pinned_at', 'integer').execute()
  const fileBytes = isPostgres(db)
    ? sql`bigint generated always as (
        case when status = 'success' and file_deleted_at is null
          then (video::json ->> 'bytes')::bigint end
      ) stored`
    : sql`integer generated always as (
        case when status = 'success' and file_deleted_at is null then json_extract(video, '$.bytes') end
      ) virtual`
  await sql`alter table job add column file_bytes ${fileBytes}`.execute(db)
  // The next two answer without a look into the table, however many jobs there are.
  await sql`
    create index job_to_expire on job (ended_at, seq, status, file_bytes)
    where ended_at is not null and deleted_at is null and pinned_at is null
  `.execute(db)
  await sql`
    create index job_by_file_bytes on job (file_bytes) where file_bytes is not null
  `.execute(db)
  await sql`
    create index expired_job_by_file on job (${fileName(db)}) where expired_at is not null
  `.execute(db)
  await sql`
    create index job_by_deletion on job (deleted_at) where deleted_at is not null
  `.execute(db)
  await sql`create index job_pinned on job (seq) where pinned_at is not null`.execute(db)
}

export async function down(db: Kysely<never>): Promise<void> {
  const indexes = [
    'job_pinned',
    'job_by_deletion',
    'expired_job_by_file',
    'job_by_file_bytes',
    'job_to_expire',
  ]
  for (const index of indexes) await db.schema.dropIndex(index).execute()
  for (const column of ['file_bytes', 'pinned_at', 'expired_at']) {
    await db.schema.alterTable('job').dropColumn(column).execute()
  }
}
