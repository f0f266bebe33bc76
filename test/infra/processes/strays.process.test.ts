import fs from 'node:fs'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import {
  attemptsIn,
  killAttempts,
  killShim,
  killStrays,
} from '../../../src/infra/processes/strays.ts'
import {
  anAttempt,
  anAttemptWithLeftovers,
  cleanUp,
  exited,
  isAlive,
  kill,
  processesOf,
  startShim,
  until,
  waysToStay,
} from '../../support/shim-attempt.ts'

afterEach(cleanUp)

const everyWay = Object.keys(waysToStay) as (keyof typeof waysToStay)[]
const untilKilled = 'touch started; while :; do sleep 0.01; done'

async function aKilledShim(attempt: ReturnType<typeof anAttemptWithLeftovers>): Promise<void> {
  const shim = startShim(attempt)
  await attempt.haveStarted()
  const { worker } = await attempt.state()
  kill(shim.pid as number)
  await exited(shim)
  await until(() => !isAlive(worker.pid), 'the worker to die with its shim')
}

describe('processes of an attempt whose shim was killed', () => {
  it.each(everyWay)('are found: %s', async (way) => {
    const attempt = anAttemptWithLeftovers([way])
    await aKilledShim(attempt)
    expect(attempt.leftovers()).toHaveLength(1)

    const { found, survivors } = await killStrays(attempt.key)
    expect({ isFound: found > 0, survivors }).toEqual({ isFound: true, survivors: 0 })
    expect(attempt.leftovers()).toEqual([])
  })

  it('are found when their first thread has ended', async () => {
    const script = `import ctypes, os, platform, threading, time
threading.Thread(target=lambda: [open('started', 'w'), time.sleep(1000)]).start()
ctypes.CDLL(None).syscall({'x86_64': 60, 'aarch64': 93}[platform.machine()], 0)`
    const attempt = anAttempt({ argv: ['python3', '-c', script] })
    startShim(attempt)
    await attempt.worker('started')
    const { worker } = await attempt.state()
    await until(() => stateOf(worker.pid) === 'Z', 'the first thread to end')

    expect(await killStrays(attempt.key)).toEqual({ found: 1, survivors: 0 })
    expect(await attempt.exit()).toMatchObject({ signal: 'SIGKILL' })
  })

  it('are left alone when they belong to another attempt at the same job', async () => {
    const attempt = anAttempt({ script: untilKilled })
    startShim(attempt)
    await attempt.worker('started')
    const { shim, worker } = await attempt.state()

    const { jobId, epoch } = attempt.key
    const nobody = { found: 0, survivors: 0 }
    expect(await killAttempts([{ jobId, epoch: epoch + 1 }])).toEqual(nobody)
    expect([isAlive(shim.pid), isAlive(worker.pid)]).toEqual([true, true])
  })

  it('do not include the shim, which reports the end', async () => {
    const attempt = anAttempt({ script: untilKilled })
    startShim(attempt)
    await attempt.worker('started')
    const { found } = await killStrays(attempt.key)
    expect(found).toBeGreaterThan(0)
    expect(await attempt.exit()).toMatchObject({ signal: 'SIGKILL', reason: null })
  })
})

describe('a shim whose directory was removed', () => {
  /** Stopped, or it would notice. */
  async function aStoppedShim() {
    const attempt = anAttempt({ script: untilKilled })
    const work = path.join(attempt.root, 'work')
    const dir = path.join(work, attempt.key.jobId, '1')
    fs.mkdirSync(path.dirname(dir), { recursive: true })
    fs.renameSync(attempt.dir, dir)
    const placed = { ...attempt, dir }
    const child = startShim(placed)
    await attempt.worker('started')
    process.kill(child.pid as number, 'SIGSTOP')
    fs.rmSync(path.dirname(dir), { recursive: true })
    return { ...placed, work, child }
  }

  it('is found among the attempts of its data directory, and of no other', async () => {
    const { work, key, root } = await aStoppedShim()
    expect(await attemptsIn(work)).toEqual([key])
    expect(await attemptsIn(root)).toEqual([])
  })

  it('is killed, and its generation with it', async () => {
    const { key, root, child } = await aStoppedShim()
    expect(await killShim(key)).toMatchObject({ survivors: 0 })
    await exited(child)
    await until(() => processesOf(root).filter(isAlive).length === 0, 'the worker to die')
  })
})

const stateOf = (pid: number): string | undefined =>
  fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.at(0)
