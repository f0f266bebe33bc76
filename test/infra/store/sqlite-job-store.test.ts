import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { jobId } from '../../support/jobs.ts'
import { createSqliteStores, type SqliteStores } from '../../support/store/sqlite-stores.ts'
import { made, numbersOf, submit } from '../../support/store-suites/operations.ts'
import { commit } from '../../support/store-suites/stores.ts'

let stores: SqliteStores
beforeEach(async () => {
  stores = await createSqliteStores()
})
afterEach(() => stores.close())

describe('a lookup', () => {
  it('is not fooled by two prompts of one digest', async () => {
    const { db, jobs } = stores
    await commit(stores, [submit(1, { prompt: 'a fox' }), submit(2, { prompt: 'an owl' })])
    const fox = db.selectFrom('job').select('prompt_digest').where('seq', '=', 1)
    await db.updateTable('job').set({ prompt_digest: fox }).where('seq', '=', 2).execute()
    expect(numbersOf(await jobs.lookup('a fox', 10, 'everything'))).toEqual([1])
  })
})

describe('a database on disk', () => {
  it('forgets the attempts of a job together with the job', async () => {
    await commit(stores, made(1))
    await stores.db.deleteFrom('job').execute()
    expect(await stores.jobs.attempts(jobId(1))).toEqual([])
  })
})
