import { sql } from 'kysely'
import { describe, expect, it, onTestFinished } from 'vitest'
import { migrateToLatest } from '../../../src/infra/store/migrate.ts'
import { migrations } from '../../../src/infra/store/migrations/index.ts'
import { openDatabase } from '../../../src/infra/store/sqlite/database.ts'
import { createJobStore } from '../../../src/infra/store/sqlite/sqlite-job-store.ts'
import { jobId } from '../../support/jobs.ts'

describe('a database from before there were warm starts', () => {
  it('knows attempts that had started as cold, and nothing of one that had not', async () => {
    const { db, close } = openDatabase(':memory:')
    onTestFinished(close)
    const earlier = Object.entries(migrations).filter(([name]) => name < '015')
    await migrateToLatest(db, undefined, Object.fromEntries(earlier))
    const columns = sql.raw('seq, id, prompt, prompt_digest, size, frames, steps, seed')
    await sql`
      insert into job (${columns}, submitted_at, status, epoch, attempts)
      values (1, ${jobId(1)}, 'a fox', 'x', '1280x720', 5, 4, 1, 0, 'running', 2, 1)
    `.execute(db)
    await sql`
      insert into attempt (job_id, epoch, number, gpu, claimed_at, started_at, outcome)
      values (${jobId(1)}, 1, 1, 0, 10, 20, 'error'), (${jobId(1)}, 2, 1, 0, 30, null, null)
    `.execute(db)
    await migrateToLatest(db)

    const attempts = await createJobStore(db).attempts(jobId(1))
    expect(attempts.map(({ start }) => start)).toEqual(['cold', undefined])
  })
})
