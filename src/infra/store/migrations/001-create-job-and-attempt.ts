import { type Kysely, sql } from 'kysely'
import { isPostgres } from '../dialect.ts'
import { fileName } from './file-name.ts'

/** Jobs in the order of submission, and every try at them. */
export async function up(db: Kysely<never>): Promise<void> {
  await db.schema
    .createTable('job')
    .addColumn('seq', 'integer', (column) => column.primaryKey())
    .addColumn('id', 'text', (column) => column.notNull().unique())
    .addColumn('prompt', 'text', (column) => column.notNull())
    .addColumn('prompt_digest', 'text', (column) => column.notNull())
    .addColumn('size', 'text', (column) => column.notNull())
    .addColumn('frames', 'integer', (column) => column.notNull())
    .addColumn('steps', 'integer', (column) => column.notNull())
    .addColumn('guidance', 'real')
    .addColumn('seed', 'integer', (column) => column.notNull())
    .addColumn('requested_filename', 'text')
    .addColumn('submitted_at', 'integer', (column) => column.notNull())
    .addColumn('status', 'text', (column) =>
      column.notNull().check(sql`status in ('queued', 'running', 'success', 'error', 'canceled')`),
    )
    .addColumn('epoch', 'integer', (column) => column.notNull())
    .addColumn('attempts', 'integer', (column) => column.notNull())
    .addColumn('phase', 'text', (column) =>
      column.check(sql`phase in ('generating', 'converting')`),
    )
    .addColumn('gpu', 'integer')
    .addColumn('filename', 'text', (column) =>
      isPostgres(db) ? column : column.modifyEnd(sql`collate nocase`),
    )
    .addColumn('claimed_at', 'integer')
    .addColumn('started_at', 'integer')
    .addColumn('generated_at', 'integer')
    .addColumn('cancel_requested_at', 'integer')
    .addColumn('ended_at', 'integer')
    .addColumn('failure', 'text')
    .addColumn('video', 'text')
    .addColumn('file_deleted_at', 'integer')
    .execute()
  await db.schema.createIndex('job_by_status').on('job').columns(['status', 'seq']).execute()
  await db.schema.createIndex('job_by_prompt').on('job').columns(['prompt_digest', 'seq']).execute()
  // Two jobs never write one file: the database says so too.
  await sql`
    create unique index one_job_per_file on job (${fileName(db)})
    where filename is not null and file_deleted_at is null and status in ('queued', 'running', 'success')
  `.execute(db)

  await db.schema
    .createTable('attempt')
    .addColumn('job_id', 'text', (column) =>
      column.notNull().references('job.id').onDelete('cascade'),
    )
    .addColumn('epoch', 'integer', (column) => column.notNull())
    .addColumn('number', 'integer', (column) => column.notNull())
    .addColumn('gpu', 'integer', (column) => column.notNull())
    .addColumn('claimed_at', 'integer', (column) => column.notNull())
    .addColumn('started_at', 'integer')
    .addColumn('generated_at', 'integer')
    .addColumn('ended_at', 'integer')
    .addColumn('outcome', 'text', (column) =>
      column.check(sql`outcome in ('success', 'error', 'canceled', 'released')`),
    )
    .addColumn('failure', 'text')
    .addPrimaryKeyConstraint('attempt_key', ['job_id', 'epoch'])
    .execute()
  await db.schema
    .createIndex('attempt_by_gpu')
    .on('attempt')
    .columns(['gpu', 'outcome', 'ended_at'])
    .execute()
  await sql`
    create unique index one_generation_per_gpu on attempt (gpu)
    where outcome is null and generated_at is null
  `.execute(db)
}

export async function down(db: Kysely<never>): Promise<void> {
  await db.schema.dropTable('attempt').execute()
  await db.schema.dropTable('job').execute()
}
