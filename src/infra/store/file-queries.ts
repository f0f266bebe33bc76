/** Which job a file or a name belongs to. */
import { type Kysely, type Selectable, type SelectQueryBuilder, sql } from 'kysely'
import type { ArchiveStore, VideoSelection } from '../../actors/archive/archive-ports.ts'
import type { QueueStore } from '../../actors/queue/queue-ports.ts'
import type { Scope } from '../../domain/client.ts'
import { nameKey } from '../../domain/filename.ts'
import { dialectOf } from './dialect.ts'
import { toJob } from './job-rows.ts'
import type { Database } from './schema.ts'

type FileQueries = Pick<QueueStore, 'isNamePromised'> &
  Pick<
    ArchiveStore,
    'videos' | 'videosToDelete' | 'findLost' | 'announcedRemovals' | 'recordedFiles'
  >

type Jobs = SelectQueryBuilder<Database, 'job', Selectable<Database['job']>>
type JobsIn = (scope: Scope) => Jobs

export function createFileQueries(db: Kysely<Database>, jobs: JobsIn): FileQueries {
  const dialect = dialectOf(db)
  const select = async (finished: Jobs, selection: VideoSelection) => {
    const rows = await ('ids' in selection
      ? finished.where('id', 'in', selection.ids)
      : 'filenames' in selection
        ? finished.where(dialect.isFileName('filename', selection.filenames))
        : finished.where('status', 'in', selection.status)
    ).execute()
    return rows.map(toJob)
  }
  const finished = (scope: Scope) => jobs(scope).where('status', '=', 'success').orderBy('seq')

  return {
    videos: (selection, scope) =>
      select(finished(scope).where('file_deleted_at', 'is', null), selection),

    videosToDelete: (selection, scope) =>
      select(
        finished(scope).where(({ or, eb }) => {
          const isPresent = eb('file_deleted_at', 'is', null)
          return 'status' in selection
            ? isPresent
            : or([isPresent, eb('file_lost', 'is not', null)])
        }),
        selection,
      ),

    async isNamePromised(filename) {
      // In literals: SQLite uses a partial index only where it can see that its condition holds.
      const holders = db
        .selectFrom('job')
        .select('id')
        .where('file_deleted_at', 'is', null)
        .where(sql<boolean>`status in ('queued', 'running', 'success')`)
      const [same, alike] = await Promise.all([
        holders.where(dialect.isFileName('filename', [filename])).executeTakeFirst(),
        holders.where('name_key', '=', nameKey(filename)).executeTakeFirst(),
      ])
      return same !== undefined || alike !== undefined
    },

    async findLost(filename, scope) {
      const row = await jobs(scope)
        .where(dialect.isFileName('filename', [filename]))
        .where('file_lost', 'is not', null)
        .orderBy('seq', 'desc')
        .executeTakeFirst()
      return row && toJob(row)
    },

    async announcedRemovals() {
      const rows = await db
        .selectFrom('job')
        .select(['id as jobId', 'removing as removal'])
        .where('removing', 'is not', null)
        .where('deleted_at', 'is', null)
        .orderBy('seq')
        .execute()
      return rows.flatMap(({ jobId, removal }) => (removal === null ? [] : [{ jobId, removal }]))
    },

    async recordedFiles(afterSeq, limit) {
      const rows = await db
        .selectFrom('job')
        .select(['seq', 'id', 'gpu', 'filename', 'file_lost'])
        .select(dialect.numberIn('video', 'bytes').$castTo<number>().as('bytes'))
        .where('status', '=', 'success')
        .where('seq', '>', afterSeq)
        .where('deleted_at', 'is', null)
        .where('removing', 'is', null)
        .where(({ or, eb }) =>
          or([eb('file_deleted_at', 'is', null), eb('file_lost', 'is not', null)]),
        )
        .orderBy('seq')
        .limit(limit)
        .execute()
      return rows.flatMap(({ seq, id: jobId, gpu, filename, bytes, ...row }) =>
        filename === null || gpu === null
          ? []
          : [{ seq, jobId, gpu, filename, bytes, isLost: row.file_lost !== null }],
      )
    },
  }
}
