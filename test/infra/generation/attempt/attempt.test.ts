import { describe, expect, it } from 'vitest'
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
    expect(attempt.killed).toEqual(['workers'])
  })

  it('hears of a full disk that was noticed together with the exit', async () => {
    const attempt = anAttempt({ exit: async () => anExit({ code: 1 }) }, { hasNoRoom: true })
    const failure = expect.objectContaining({ code: 'disk_full' })
    await expect.poll(attempt.result).toEqual({ how: 'failed', failure })
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
function anAttempt(otherwise: Partial<AttemptProcesses> = {}, { hasNoRoom = false } = {}) {
  const heard: [what: string, ...details: unknown[]][] = []
  const stops: [reason: string, graceMs: number][] = []
  const killed: string[] = []
  let shim: ConnectionEvents | undefined
  let closed = false
  let result: GenerationResult | undefined

  const processes: AttemptProcesses = {
    start: () => new Promise(() => {}),
    connect(on) {
      shim = on
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
    command: () => command,
    hasFiles: () => true,
    whyNothingStarted: async () => 'it said nothing',
    killWorkers: async () => {
      killed.push('workers')
      return 0
    },
    killShim: async () => void killed.push('shim'),
    shimEnds: async () => {},
    ...otherwise,
  }
  const log = () => {}
  const handle = followAttempt('start', {
    processes,
    followOutput(_startedAt, onRead) {
      queueMicrotask(() => onRead(reading))
      return { finish: async () => ({ finished: true }), stop() {} }
    },
    hasNoRoom: () => hasNoRoom,
    observer: {
      started: (at, command) => heard.push(['started', at, command]),
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
    result: () => result,
    isClosed: () => closed,
    /** What the attempt hears from the shim, once it has tried to connect. */
    async shim(): Promise<ConnectionEvents> {
      await expect.poll(() => shim).toBeDefined()
      return shim as ConnectionEvents
    },
  }
}
