import { sql } from 'kysely'
import { describe, expect, it, onTestFinished } from 'vitest'
import { nameKey } from '../../../src/domain/filename.ts'
import { migrateToLatest } from '../../../src/infra/store/migrate.ts'
import { migrations } from '../../../src/infra/store/migrations/index.ts'
import { openDatabase } from '../../../src/infra/store/sqlite/database.ts'
import { createJobStore } from '../../../src/infra/store/sqlite/sqlite-job-store.ts'
import { jobId } from '../../support/jobs.ts'

describe('a database from before names had keys', () => {
  it('keeps both of two names that are one by now, and compares new ones with them', async () => {
    const { db, close } = openDatabase(':memory:')
    onTestFinished(close)
    const earlier = Object.entries(migrations).filter(([name]) => name < '011')
    await migrateToLatest(db, undefined, Object.fromEntries(earlier))
    const names = ['Émile.mp4', 'émile.mp4', 'FOX.mp4', 'Straße.mp4']
    for (const [index, name] of names.entries()) {
      const columns = sql.raw('seq, id, prompt, prompt_digest, size, frames, steps, seed')
      await sql`
        insert into job (${columns}, requested_filename, filename, submitted_at, status, epoch, attempts)
        values (${index + 1}, ${jobId(index + 1)}, 'a fox', 'x', '1280x720', 5, 4, 1, ${name}, ${name},
          0, 'queued', 0, 0)
      `.execute(db)
    }
    await migrateToLatest(db)

    const rows = await db
      .selectFrom('job')
      .select(['filename', 'name_key'])
      .orderBy('seq')
      .execute()
    expect(rows).toEqual(names.map((name) => ({ filename: name, name_key: nameKey(name) })))
    const store = createJobStore(db)
    expect((await store.load(0)).waiting).toHaveLength(4)
    for (const name of ['ÉMILE.mp4', 'fox.mp4', 'STRASSE.mp4']) {
      expect([name, await store.isNamePromised(name)]).toEqual([name, true])
    }
    expect(await store.isNamePromised('wolf.mp4')).toBe(false)
  })
})
