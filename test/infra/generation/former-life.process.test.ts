/** A look for processes of a previous run, with attempts that start while it goes on. */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { AttemptKey, JobId } from '../../../src/domain/job.ts'
import { endFormerLife, type FormerLife } from '../../../src/infra/generation/former-life.ts'
import { canFreeze, freeze } from '../../support/freezer.ts'
import { jobId } from '../../support/jobs.ts'
import { anAttempt, cleanUp, isAlive, startShim } from '../../support/shim-attempt.ts'

let root: string
let workDir: string

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'former-life-'))
  workDir = join(root, 'work')
  mkdirSync(workDir)
})
afterEach(async () => {
  await cleanUp()
  rmSync(root, { recursive: true })
})

/** A generation that hangs, in the working directory of the service. */
async function aGeneration({ jobId: job, epoch }: AttemptKey) {
  const at = join(workDir, job, String(epoch))
  const attempt = anAttempt({ job, epoch, at, script: 'touch started; exec sleep 1000' })
  startShim(attempt)
  await attempt.worker('started')
  const { worker, shim } = await attempt.state()
  return {
    pid: worker.pid,
    isAlive: () => isAlive(shim.pid) && isAlive(worker.pid),
    isKept: () => existsSync(at),
  }
}

const none = { running: [], converting: [] }
const first = { jobId: jobId(1), epoch: 1 }
const second = { jobId: jobId(2), epoch: 1 }

const look = (parts: Partial<FormerLife>) =>
  endFormerLife(
    { workDir },
    {
      readCurrent: async () => none,
      fateOf: async () => 'over',
      archiveDir: join(root, 'archive'),
      log: pino({ enabled: false }),
      ...parts,
    },
  )

describe('a look for attempts of a previous run', () => {
  it('ends one that does not run, and leaves those that run or are watched', async () => {
    const third = { jobId: jobId(3), epoch: 2 }
    const over = await aGeneration(first)
    const running = await aGeneration(second)
    const watched = await aGeneration(third)
    const readCurrent = async () => ({ ...none, running: [second] })
    await look({ readCurrent, watched: () => [third], fateOf: fateBy(second.jobId) })
    expect([over, running, watched].map((one) => one.isAlive())).toEqual([false, true, true])
    expect([over, running, watched].map((one) => one.isKept())).toEqual([false, true, true])
  })

  it('leaves an attempt alone that starts after the records were read', async () => {
    const over = await aGeneration(first)
    let started: Awaited<ReturnType<typeof aGeneration>> | undefined
    await look({
      async readCurrent() {
        started = await aGeneration(second)
        return none
      },
      fateOf: fateBy(second.jobId),
    })
    expect(over.isAlive()).toBe(false)
    expect(started?.isAlive()).toBe(true)
    expect(started?.isKept()).toBe(true)
  })

  it('keeps the directory of an ended job while an attempt that started meanwhile is watched', async () => {
    await aGeneration(first)
    const again = { ...first, epoch: 2 }
    let started: Awaited<ReturnType<typeof aGeneration>> | undefined
    await look({
      watched: () => (started ? [again] : []),
      async fateOf() {
        started = await aGeneration(again)
        return 'over'
      },
    })
    expect(started?.isAlive()).toBe(true)
    expect(started?.isKept()).toBe(true)
  })
})

describe.skipIf(!canFreeze)('an attempt of a previous run that survives SIGKILL', () => {
  it.each(['over', 'unknown'] as const)('is reported, and keeps its files (%s)', async (fate) => {
    const stuck = await aGeneration(first)
    const other = await aGeneration(second)
    const { thaw } = freeze(stuck.pid)
    const fateOf = async () => fate
    expect(await look({ fateOf })).toEqual([first])
    expect([stuck.isKept(), other.isKept()]).toEqual([true, false])
    // As after the restart of a driver.
    thaw()
    expect(await look({ fateOf })).toEqual([])
    expect(stuck.isKept()).toBe(false)
  })
})

const fateBy =
  (open: JobId): FormerLife['fateOf'] =>
  async (id) =>
    id === open ? 'open' : 'over'
