import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { hasFilesOfJobs } from '../../../src/infra/upkeep/earlier-jobs.ts'
import { jobId } from '../../support/jobs.ts'
import { aDataDirectory } from '../../support/service.ts'

describe('what earlier jobs have left', () => {
  const data = (directory: string) => ({
    workDir: join(directory, 'work'),
    resultsDir: join(directory, 'results'),
  })

  it.each<[where: string, file: string | undefined, isOfJobs: boolean]>([
    ['nowhere', undefined, false],
    ['in work/', `work/${jobId(1)}`, true],
    ['in results/', 'results/result_gpu0_2026-07-31_10-00-00_abcdefgh.mp4', true],
    ['in backups/', 'backups/state-2026-07-31.db', true],
    ['of somebody else', 'results/holiday.mp4', false],
    ['of a backup that was not finished', 'backups/state-2026-07-31.db.unfinished', false],
  ])('is found %s', async (_where, file, isOfJobs) => {
    const directory = aDataDirectory()
    for (const name of ['work', 'results']) mkdirSync(join(directory, name))
    if (file) mkdirSync(join(directory, file), { recursive: true })
    expect(await hasFilesOfJobs(data(directory), join(directory, 'backups'))).toBe(isOfJobs)
  })
})
