import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createGenerationReader } from '../../../../src/infra/generation/progress/generation-reader.ts'
import { followOutput } from '../../../../src/infra/generation/progress/output-follower.ts'
import { aFileOfHoles, irregularFiles } from '../../../support/hostile-files.ts'
import { aDataDirectory } from '../../../support/service.ts'

const encoding = '[2025-12-27 09:15:13,421] INFO: Generating video ...\n'

/** An attempt whose output is followed from `follow` on. */
function anAttempt() {
  const root = aDataDirectory()
  const attemptDir = join(root, '1')
  mkdirSync(attemptDir)
  const logPath = join(root, 'job.log')
  const errors: unknown[] = []
  const clock = { now: Date.now, place: (at: number) => at }
  const reader = createGenerationReader({ totalSteps: 4, startedAt: 0, clock })
  return {
    errors,
    logPath,
    at: (name: string) => join(attemptDir, name),
    stage: () => reader.reading?.stage,
    follow() {
      const output = followOutput({
        ...{ attemptDir, logPath, title: '=== attempt 1 ===', reader, clock },
        onRead: () => {},
        onError: (error) => errors.push(error),
      })
      onTestFinished(output.stop)
      return output
    },
  }
}

describe('the output of a generation', () => {
  describe.each(['events.jsonl', 'stdout.log', 'stderr.log'])('with %s', (name) => {
    it.each(irregularFiles)(
      'in the place of which there is %s is read for the rest',
      async (_, put) => {
        const attempt = anAttempt()
        await put(attempt.at(name))
        const other = name === 'stdout.log' ? 'stderr.log' : 'stdout.log'
        const output = attempt.follow()
        await expect.poll(() => attempt.errors).toHaveLength(1)
        writeFileSync(attempt.at(other), encoding)
        await expect.poll(attempt.stage).toBe(other === 'stdout.log' ? 'encoding' : 'loading')
        // Reported once, however often it is found again.
        await output.finish()
        expect(attempt.errors).toHaveLength(1)
        expect(readFileSync(attempt.logPath, 'utf8')).toContain('Generating video')
      },
    )
  })

  it('is read from the time on when a regular file is in its place again', async () => {
    const attempt = anAttempt()
    execFileSync('mkfifo', [attempt.at('stdout.log')])
    attempt.follow()
    await expect.poll(() => attempt.errors).toHaveLength(1)
    rmSync(attempt.at('stdout.log'))
    writeFileSync(attempt.at('stdout.log'), encoding)
    await expect.poll(attempt.stage).toBe('encoding')
  })

  it('that is 1 TB of nothing takes no longer than its end', async () => {
    const attempt = anAttempt()
    aFileOfHoles(attempt.at('stdout.log'), 2 ** 40)
    appendFileSync(attempt.at('stdout.log'), `\n${encoding}`)
    const evidence = await attempt.follow().finish()
    expect(evidence.finished).toBe(false)
    expect(attempt.stage()).toBe('encoding')
  })

  it.each(irregularFiles)('is followed when the log of the job is %s', async (_, put) => {
    const attempt = anAttempt()
    await put(attempt.logPath)
    writeFileSync(attempt.at('stdout.log'), encoding)
    await attempt.follow().finish()
    expect(attempt.stage()).toBe('encoding')
    expect(attempt.errors).toHaveLength(1)
  })

  it.each(irregularFiles)('is followed when the mark of its begin is %s', async (_, put) => {
    const attempt = anAttempt()
    await put(attempt.at('log-begin'))
    writeFileSync(attempt.at('stdout.log'), encoding)
    await attempt.follow().finish()
    expect(attempt.stage()).toBe('encoding')
  })

  it.each(['', 'x', '-1', '1e3', '12\n13'])(
    'leaves the lines of earlier attempts alone when the mark of its begin is %j',
    async (mark) => {
      const attempt = anAttempt()
      writeFileSync(attempt.logPath, 'of an earlier attempt\n')
      writeFileSync(attempt.at('log-begin'), mark)
      writeFileSync(attempt.at('stdout.log'), encoding)
      await attempt.follow().finish()
      const log = readFileSync(attempt.logPath, 'utf8')
      expect(log).toContain('of an earlier attempt')
      expect(log).toContain('Generating video')
    },
  )
})
