import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { GenerationResult } from '../../../../src/actors/gpu/gpu-ports.ts'
import type { Reading } from '../../../../src/domain/job.ts'
import { followAttempt } from '../../../../src/infra/generation/attempt/attempt.ts'
import type {
  AttemptProcesses,
  ConnectionEvents,
} from '../../../../src/infra/generation/attempt/transport.ts'
import { anExit } from '../../../support/attempt-world.ts'
import { midnight } from '../../../support/jobs.ts'

const command = ['python3', 'generate.py']
const reading: Reading = { stage: 'denoising', step: 1, totalSteps: 6 }

describe('the observer of an attempt', () => {
  it('hears of the start with the command, of readings, and of the end', async () => {
    const attempt = anAttempt()
    const shim = await attempt.shim()
    shim.hello(midnight)
    shim.exit(anExit())
    await expect.poll(attempt.result).toEqual({ how: 'completed' })
    expect(attempt.heard).toEqual([
      ['started', midnight, command],
      ['reported', reading],
      ['ended', { how: 'completed' }],
    ])
    expect(attempt.isClosed()).toBe(true)
  })

  it('hears nothing after the detach, and the processes are left alone', async () => {
    const attempt = anAttempt()
    const shim = await attempt.shim()
    shim.hello(midnight)
    attempt.handle.detach()
    shim.exit(anExit())
    await new Promise(setImmediate)
    expect(attempt.heard.map(([what]) => what)).toEqual(['started'])
    expect(attempt.isClosed()).toBe(true)
    expect(attempt.killed).toEqual([])
  })

  it('hears of a start that fails', async () => {
    const attempt = anAttempt({ start: () => Promise.reject(new Error('EACCES: mkdir')) })
    const failure = expect.objectContaining({ code: 'environment_broken' })
    await expect.poll(attempt.result).toEqual({ how: 'failed', failure })
  })

  it('hears of a loss when the processes cannot be observed', async () => {
    const attempt = anAttempt({ exit: () => Promise.reject(new Error('EIO')) })
    await expect.poll(attempt.result).toEqual({ how: 'lost' })
    expect(attempt.killed).toEqual(['all'])
  })

  it('hears of a loss only when the search for leftover processes succeeds', async () => {
    let searches = 0
    const attempt = anAttempt({
      exit: () => Promise.reject(new Error('EIO')),
      async clear() {
        searches += 1
        if (searches < 3) throw new Error('EMFILE: too many open files')
        return { found: 0, survivors: 0 }
      },
    })
    await expect.poll(attempt.result, { timeout: 10_000 }).toEqual({ how: 'lost' })
    expect(searches).toBe(3)
  })

  it('hears of a loss when the files are removed before the end', async () => {
    const attempt = anAttempt({ hasFiles: () => false })
    const shim = await attempt.shim()
    shim.hello(midnight)
    shim.exit(anExit())
    const failure = expect.objectContaining({ code: 'lost' })
    await expect.poll(attempt.result).toEqual({ how: 'failed', failure })
  })

  it('hears of a full disk that was noticed together with the exit', async () => {
    const attempt = anAttempt({ exit: async () => anExit({ code: 1 }) }, { hasNoRoom: true })
    const failure = expect.objectContaining({ code: 'disk_full' })
    await expect.poll(attempt.result).toEqual({ how: 'failed', failure })
  })
})

describe('an attempt while the clock is set', () => {
  const day = 24 * 60 * 60_000

  it.each([9, -2, -40])('is as old as its worker, with a clock set by %d days', async (days) => {
    const attempt = anAttempt({ ageMs: () => 90_000 }, { how: 'adopt' })
    const shim = await attempt.shim()
    shim.hello(Date.now() - 90_000 - days * day)
    const [age = 0] = attempt.ages
    expect(age).toBeGreaterThanOrEqual(90_000)
    expect(age).toBeLessThan(120_000)
  })

  it('has just begun when nobody knows how old its worker is', async () => {
    const attempt = anAttempt({ ageMs: () => undefined }, { how: 'adopt' })
    const shim = await attempt.shim()
    shim.hello(Date.now() - 9 * day)
    const [age = day] = attempt.ages
    expect(age).toBeLessThan(30_000)
  })

  it('is not lost for a shim that has yet to write who it is', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    onTestFinished(() => void vi.useRealTimers())
    let looks = 0
    const attempt = anAttempt({
      life: async () => {
        looks += 1
        vi.setSystemTime(Date.now() + day)
        return 'unknown'
      },
    })
    const shim = await attempt.shim()
    shim.closed()
    await expect.poll(() => looks).toBeGreaterThan(0)
    await attempt.connects(2)
    expect(attempt.result()).toBeUndefined()
    expect(attempt.killed).toEqual([])
  })
})

describe('a stop of an attempt', () => {
  it('is sent at once when the shim is connected', async () => {
    const attempt = anAttempt()
    const shim = await attempt.shim()
    shim.hello(midnight)
    attempt.handle.stop('canceled', 500)
    expect(attempt.stops).toEqual([['canceled', 500]])
  })

  it('is sent when the shim connects', async () => {
    const attempt = anAttempt()
    const shim = await attempt.shim()
    attempt.handle.stop('timeout', 500)
    expect(attempt.stops).toEqual([])
    shim.hello(null)
    expect(attempt.stops).toEqual([['timeout', 500]])
  })
})

/** An attempt of which the test plays the shim, and anything else that it wants to be otherwise. */
function anAttempt(
  otherwise: Partial<AttemptProcesses> = {},
  { hasNoRoom = false, how = 'start' }: { hasNoRoom?: boolean; how?: 'start' | 'adopt' } = {},
) {
  const heard: [what: string, ...details: unknown[]][] = []
  const stops: [reason: string, graceMs: number][] = []
  const killed: string[] = []
  const ages: number[] = []
  let shim: ConnectionEvents | undefined
  let connections = 0
  let closed = false
  let result: GenerationResult | undefined

  const processes: AttemptProcesses = {
    start: () => new Promise(() => {}),
    connect(on) {
      shim = on
      connections += 1
      return {
        stop: (reason, graceMs) => void stops.push([reason, graceMs]),
        close: () => {
          closed = true
        },
      }
    },
    exit: async () => undefined,
    revoke: () => 'taken',
    life: async () => 'alive',
    ageMs: () => Date.now() - midnight,
    startKind: () => undefined,
    command: () => command,
    hasFiles: () => true,
    whyNothingStarted: async () => 'it said nothing',
    killWorkers: async () => {
      killed.push('workers')
      return { found: 1, survivors: 0 }
    },
    killShim: async () => {
      killed.push('shim')
      return { found: 0, survivors: 0 }
    },
    clear: async () => {
      killed.push('all')
      return { found: 1, survivors: 0 }
    },
    shimEnds: async () => {},
    ...otherwise,
  }
  const log = () => {}
  const handle = followAttempt(how, {
    processes,
    followOutput(_startedAt, onRead) {
      queueMicrotask(() => onRead(reading))
      return { finish: async () => ({ finished: true }), stop() {} }
    },
    hasNoRoom: () => hasNoRoom,
    observer: {
      started(at, ageMs, command) {
        ages.push(ageMs)
        heard.push(['started', at, command])
      },
      reported: (reading) => heard.push(['reported', reading]),
      ended(how) {
        heard.push(['ended', how])
        result = how
      },
    },
    log: { debug: log, info: log, warn: log, error: log },
    fields: {},
  })

  return {
    handle,
    heard,
    stops,
    killed,
    ages,
    result: () => result,
    isClosed: () => closed,
    connects: (times: number) => expect.poll(() => connections).toBeGreaterThanOrEqual(times),
    /** What the attempt hears from the shim, once it has tried to connect. */
    async shim(): Promise<ConnectionEvents> {
      await expect.poll(() => shim).toBeDefined()
      return shim as ConnectionEvents
    },
  }
}
