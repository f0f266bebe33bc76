import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createDirectories, createWorkFiles } from '../../../src/infra/disk/data-directory.ts'
import { jobId } from '../../support/jobs.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'data-directory-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

describe('the directories', () => {
  it('are made with all that is above them', () => {
    const data = {
      workDir: join(directory, 'work'),
      resultsDir: join(directory, 'far', 'away', 'results'),
      logsDir: join(directory, 'logs'),
      previewsDir: join(directory, 'previews'),
      stateDb: join(directory, 'state', 'state.db'),
    }
    createDirectories(data)
    createDirectories(data)
    for (const path of [data.workDir, data.resultsDir, data.logsDir, join(directory, 'state')]) {
      expect(existsSync(path)).toBe(true)
    }
  })

  it('lose what a job has worked with, and nothing else', async () => {
    const workDir = join(directory, 'work')
    const work = (n: number) => join(workDir, jobId(n), '1')
    for (const n of [1, 2]) createDirectories({ ...anywhere(), workDir: work(n) })
    const files = createWorkFiles({ workDir, logsDir: directory })
    await files.discard(jobId(1))
    await files.discard(jobId(1))
    expect([existsSync(join(workDir, jobId(1))), existsSync(work(2))]).toEqual([false, true])
  })

  const anywhere = () => ({
    workDir: directory,
    resultsDir: directory,
    logsDir: directory,
    previewsDir: directory,
    stateDb: join(directory, 'state.db'),
  })
})
