import { describe, expect, it } from 'vitest'
import { createPlace } from '../../../../src/actors/actor.ts'
import type { QueueEffect } from '../../../../src/actors/queue/queue-effects.ts'
import type { StoredQueue } from '../../../../src/actors/queue/queue-ports.ts'
import type { QueueCommand, QueueNews } from '../../../../src/actors/queue/queue-protocol.ts'
import { restoreQueue } from '../../../../src/actors/queue/queue-restore.ts'
import { gpuUse } from '../../../../src/actors/queue/queue-state.ts'
import { transition } from '../../../../src/actors/queue/rules/queue-transition.ts'
import { RefusalError } from '../../../../src/domain/errors.ts'
import type { FailureCode, GpuId, Reading } from '../../../../src/domain/job.ts'
import {
  aFailure,
  anybody,
  aRequest,
  emptyQueue,
  gpu0,
  gpu1,
  jobId,
  midnight,
  queueSettings,
  sentOnce,
} from '../../../support/jobs.ts'

const minute = 60_000
const someone = createPlace<unknown>('someone')

describe('a GPU on which one job after the other fails', () => {
  it.each<FailureCode>(['out_of_memory', 'gpu_error', 'killed'])(
    'goes into quarantine after the third %s in a row, and gets no job there',
    (code) => {
      const queue = aQueue()
      for (const n of [1, 2]) queue.fails(n, gpu0, code)
      expect(queue.health(gpu0).quarantine).toBeUndefined()
      const effects = queue.fails(3, gpu0, code)
      expect(queue.health(gpu0).quarantine).toEqual({
        reason: 'failures',
        since: midnight,
        until: midnight + minute,
        strikes: 1,
        probing: false,
      })
      expect(effects).toContainEqual({
        do: 'expectProbe',
        gpu: gpu0,
        since: midnight,
        withinMs: minute,
      })
      expect(queue.submits(4)).not.toContain(gpu0)
    },
  )

  it.each<FailureCode>(['generation_failed', 'checkpoint_missing', 'no_output', 'timeout', 'lost'])(
    'is not blamed for %s',
    (code) => {
      const queue = aQueue()
      for (const n of [1, 2, 3, 4]) queue.fails(n, gpu0, code)
      expect(queue.health(gpu0)).toEqual({ drained: false, failures: [] })
    },
  )

  it('is not blamed for one job that fails again and again', () => {
    const queue = aQueue({ gpus: [gpu0], maxAttempts: 9 })
    queue.ready(gpu0)
    queue.submits(1)
    for (let attempt = 1; attempt <= 8; attempt++) queue.ends(1, 'out_of_memory')
    expect(queue.health(gpu0).quarantine).toBeUndefined()
    expect(queue.health(gpu0).failures).toHaveLength(1)
  })

  it('is forgiven as soon as a generation succeeds', () => {
    const queue = aQueue()
    for (const n of [1, 2]) queue.fails(n, gpu0, 'gpu_error')
    queue.succeeds(3, gpu0)
    for (const n of [4, 5]) queue.fails(n, gpu0, 'gpu_error')
    expect(queue.health(gpu0).quarantine).toBeUndefined()
  })

  it('gets one job to prove itself when its time is over, and is well when that succeeds', () => {
    const queue = aQueue()
    for (const n of [1, 2, 3]) queue.fails(n, gpu0, 'gpu_error')
    expect(queue.submits(4)).toEqual([])
    queue.at(midnight + minute)
    expect(claims(queue.tell({ type: 'probeDue', gpu: gpu0, since: midnight }))).toEqual([gpu0])
    queue.ends(4)
    expect(queue.health(gpu0)).toEqual({ drained: false, failures: [] })
  })

  it('stays twice as long each time the probe fails too, up to an hour', () => {
    const queue = aQueue()
    for (const n of [1, 2, 3]) queue.fails(n, gpu0, 'gpu_error')
    const stays: number[] = []
    for (let n = 4; n < 14; n++) {
      const { quarantine } = queue.health(gpu0)
      const { since = 0, until = 0 } = quarantine ?? {}
      stays.push((until - since) / minute)
      queue.at(until)
      queue.submits(n)
      queue.tell({ type: 'probeDue', gpu: gpu0, since })
      queue.ends(n, 'gpu_error')
    }
    expect(stays).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60, 60])
  })

  it('takes no notice of the alarm of an earlier quarantine', () => {
    const queue = aQueue()
    for (const n of [1, 2, 3]) queue.fails(n, gpu0, 'gpu_error')
    queue.tell({ type: 'resumeGpu', gpu: gpu0, replyTo: someone })
    queue.at(midnight + 5)
    for (const n of [4, 5, 6]) queue.fails(n, gpu0, 'gpu_error')
    queue.tell({ type: 'probeDue', gpu: gpu0, since: midnight })
    expect(queue.health(gpu0).quarantine?.probing).toBe(false)
  })

  it('is in quarantine still after a restart of the service, for the rest of its time', () => {
    const queue = aQueue()
    for (const n of [1, 2, 3]) queue.fails(n, gpu0, 'gpu_error')
    const again = aQueue({}, { gpus: new Map([[gpu0, queue.health(gpu0)]]) })
    again.at(midnight + 20_000)
    expect(again.ready(gpu0)).toContainEqual({
      do: 'expectProbe',
      gpu: gpu0,
      since: midnight,
      withinMs: 40_000,
    })
    expect(again.submits(4)).toEqual([])
  })

  it('leaves its jobs to the others', () => {
    const queue = aQueue()
    for (const n of [1, 2, 3]) queue.fails(n, gpu0, 'gpu_error')
    queue.ready(gpu1)
    expect(queue.submits(4, 5)).toEqual([gpu1])
    queue.ends(4)
    expect(queue.working()).toEqual([[5, gpu1]])
  })
})

describe('a GPU with a process that survives SIGKILL', () => {
  it('never gets another beside it, and its job says why it failed', () => {
    const queue = aQueue()
    queue.ready(gpu0)
    queue.submits(1)
    queue.tell({ type: 'processesLeft', gpu: gpu0 })
    const effects = queue.tell({
      type: 'generationEnded',
      jobId: jobId(1),
      epoch: 1,
      result: { how: 'unkillable' },
    })
    expect(effects).toContainEqual(
      expect.objectContaining({
        operation: expect.objectContaining({
          outcome: { status: 'error', failure: expect.objectContaining({ code: 'unkillable' }) },
        }),
      }),
    )
    expect(queue.health(gpu0).quarantine).toMatchObject({ reason: 'unkillable' })
    expect(queue.health(gpu0).quarantine?.until).toBeUndefined()
    queue.tell({ type: 'gpuReady', gpu: gpu0, incarnation: 'gpu-0.2' })
    expect(queue.submits(2)).toEqual([])
  })

  it('does not make its job canceled, for something of it is left', () => {
    const queue = aQueue()
    queue.ready(gpu0)
    queue.submits(1)
    queue.tell({
      type: 'cancel',
      selection: { ids: [jobId(1)] },
      scope: 'everything',
      replyTo: someone,
    })
    const effects = queue.tell({
      type: 'generationEnded',
      jobId: jobId(1),
      epoch: 1,
      result: { how: 'unkillable' },
    })
    const answers = effects.filter((effect) => effect.do === 'answer')
    expect(answers).toMatchObject([{ value: { canceled: [], rest: [jobId(1)] } }])
  })
})

describe('an operator', () => {
  it('drains a GPU: it ends what it runs and takes nothing new, until it is resumed', () => {
    const queue = aQueue()
    queue.ready(gpu0)
    queue.submits(1, 2)
    const effects = queue.tell({ type: 'drainGpu', gpu: gpu0, replyTo: someone })
    expect(effects.at(-1)).toMatchObject({ do: 'answer', value: { health: { drained: true } } })
    queue.ends(1)
    expect(queue.working()).toEqual([])
    expect(claims(queue.tell({ type: 'resumeGpu', gpu: gpu0, replyTo: someone }))).toEqual([gpu0])
  })

  it('finds it drained still after a restart of the service', () => {
    const drained = new Map([[gpu0, { drained: true, failures: [] }]])
    const queue = aQueue({}, { gpus: drained })
    queue.ready(gpu0)
    expect(queue.submits(1)).toEqual([])
  })

  it.each(['drainGpu', 'resumeGpu', 'disown'] as const)(
    'is refused %s of a GPU that is not there',
    (type) => {
      const queue = aQueue()
      const gpu = 7 as GpuId
      const command: QueueCommand =
        type === 'disown'
          ? { type, gpu, fate: 'fail', replyTo: someone }
          : { type, gpu, replyTo: someone }
      const [effect] = queue.tell(command)
      expect(effect).toMatchObject({ do: 'answer' })
      expect(effect?.do === 'answer' && effect.value).toBeInstanceOf(RefusalError)
    },
  )

  it.each([
    ['giveBack', { status: 'queued', attempts: 0 }],
    ['fail', { status: 'error' }],
  ] as const)('may have the job of a restarted GPU not adopted: %s', (fate, outcome) => {
    const queue = aQueue({ gpus: [gpu0] })
    queue.ready(gpu0)
    queue.submits(1)
    queue.tell({ type: 'disown', gpu: gpu0, fate, replyTo: someone })
    queue.tell({ type: 'gpuGone', gpu: gpu0, givenUp: false })
    const key = { jobId: jobId(1), epoch: 1 }
    const adopted = queue.tell({ type: 'gpuReady', gpu: gpu0, incarnation: 'gpu-0.2' })
    expect(adopted).toMatchObject([{ do: 'adoptGeneration' }])
    const stopped = queue.tell({
      type: 'generationStarted',
      gpu: gpu0,
      startedAt: midnight,
      ...key,
    })
    expect(stopped).toContainEqual({ do: 'stopGeneration', gpu: gpu0, reason: 'orphaned', ...key })
    queue.tell({ type: 'drainGpu', gpu: gpu0, replyTo: someone })
    const failure = aFailure('killed')
    const ended = queue.tell({
      type: 'generationEnded',
      ...key,
      result: { how: 'failed', failure },
    })
    expect(ended).toContainEqual(
      expect.objectContaining({
        operation: expect.objectContaining(
          outcome.status === 'queued' ? { op: 'release', attempts: 0 } : { op: 'finish' },
        ),
      }),
    )
  })
})

describe('a queue that is closed', () => {
  const close = (mode: 'detach' | 'drain' | 'kill') =>
    ({ type: 'close', mode, replyTo: someone }) as const

  it('is closed at once when what runs is left to itself', () => {
    const queue = aQueue()
    queue.ready(gpu0)
    queue.submits(1, 2)
    expect(queue.tell(close('detach'))).toMatchObject([{ do: 'answer', value: 'closed' }])
    queue.ends(1)
    expect(queue.working()).toEqual([])
  })

  it('is closed when the last running job is over, if it is to be drained', () => {
    const queue = aQueue()
    queue.ready(gpu0)
    queue.submits(1, 2)
    expect(queue.tell(close('drain'))).toEqual([])
    expect(queue.ends(1)).not.toContainEqual(
      expect.objectContaining({ do: 'answer', value: 'closed' }),
    )
    const video = { width: 1280, height: 720, frames: 121, durationSeconds: 5, bytes: 1 }
    expect(queue.tell({ type: 'converted', jobId: jobId(1), epoch: 1, video })).toContainEqual(
      expect.objectContaining({ do: 'answer', value: 'closed' }),
    )
  })

  it('has what runs stopped and given back uncounted, if it is to be killed', () => {
    const queue = aQueue()
    queue.ready(gpu0)
    queue.submits(1)
    expect(queue.tell(close('kill'))).toMatchObject([{ do: 'stopGeneration', reason: 'orphaned' }])
    const effects = queue.ends(1, 'killed')
    expect(effects).toContainEqual(
      expect.objectContaining({
        operation: expect.objectContaining({ op: 'release', attempts: 0 }),
      }),
    )
    expect(effects).toContainEqual(expect.objectContaining({ do: 'answer', value: 'closed' }))
  })
})

describe('a GPU whose actor was given up', () => {
  it('does not hold up the loading of the others', () => {
    const queue = aQueue({ maxConcurrentLoads: 1 })
    queue.ready(gpu0)
    queue.ready(gpu1)
    expect(queue.submits(1, 2)).toEqual([gpu0])
    expect(claims(queue.tell({ type: 'gpuGone', gpu: gpu0, givenUp: false }))).toEqual([])
    expect(claims(queue.tell({ type: 'gpuGone', gpu: gpu0, givenUp: true }))).toEqual([gpu1])
  })
})

describe('a disk without room', () => {
  it('puts a GPU into quarantine on which the environment fails while others work', () => {
    const queue = aQueue()
    queue.ready(gpu0)
    queue.ready(gpu1)
    queue.submits(1, 2, 3, 4, 5, 6, 7, 8)
    const jobOn = (gpu: GpuId) => queue.working().find(([, one]) => one === gpu)?.[0] ?? 0
    for (let time = 1; time <= 3; time++) {
      queue.ends(jobOn(gpu1), 'environment_broken')
      queue.ends(jobOn(gpu0))
      queue.tell({ type: 'pauseEnded', pause: 1 })
      queue.reports(jobOn(gpu0), { stage: 'encoding' })
    }
    expect(queue.health(gpu1)).toMatchObject({ quarantine: { reason: 'failures' } })
    expect(queue.health(gpu0)).toEqual({ drained: false, failures: [] })
    expect(queue.working()).toHaveLength(1)
  })

  it('pauses claims and refuses jobs until there is room again', () => {
    const queue = aQueue()
    queue.submits(1)
    queue.tell({ type: 'roomChecked', hasRoom: false })
    expect(claims(queue.ready(gpu0))).toEqual([])
    const refused = queue.tell({
      type: 'submit',
      draft: aRequest(),
      client: anybody,
      repetition: { isRetry: false },
      replyTo: someone,
    })
    expect(refused).toMatchObject([{ value: { code: 'disk_full' } }])
    expect(claims(queue.tell({ type: 'roomChecked', hasRoom: true }))).toEqual([gpu0])
  })
})

const claims = (effects: readonly QueueEffect[]): GpuId[] =>
  effects.flatMap((effect) => (effect.do === 'startGeneration' ? [effect.gpu] : []))

/** The queue's rules on two GPUs, neither of which is there yet. */
function aQueue(settings: Partial<typeof queueSettings> = {}, stored: Partial<StoredQueue> = {}) {
  let state = restoreQueue(
    {
      ...queueSettings,
      gpus: [gpu0, gpu1],
      maxAttempts: 1,
      maxConcurrentLoads: 9,
      quarantineAfter: 3,
      quarantineMs: minute,
      ...settings,
    },
    {
      ...emptyQueue,
      ...stored,
    },
  )
  let now = midnight
  const tell = (message: QueueCommand | QueueNews): readonly QueueEffect[] => {
    const [next, effects] = transition(state, message, now)
    state = next
    // Of every claim and adoption: queue-transition.test.ts is about it.
    return effects.filter((effect) => effect.do !== 'expectLoad')
  }
  const submit = (n: number) =>
    tell({
      type: 'admit',
      jobId: jobId(n),
      request: aRequest(),
      client: anybody,
      ...sentOnce(n),
      nameTaken: false,
      replyTo: someone,
    })
  const ready = (gpu: GpuId) => tell({ type: 'gpuReady', gpu, incarnation: `gpu-${gpu}.1` })
  const ends = (n: number, code?: FailureCode) => {
    const key = { jobId: jobId(n), epoch: state.running.get(jobId(n))?.epoch ?? 0 }
    const result = code
      ? ({ how: 'failed', failure: aFailure(code) } as const)
      : ({ how: 'completed' } as const)
    return tell({ type: 'generationEnded', ...key, result })
  }
  return {
    tell,
    ready,
    ends,
    reports: (n: number, reading: Reading) => {
      const epoch = state.running.get(jobId(n))?.epoch ?? 0
      return tell({ type: 'generationReported', gpu: gpu0, jobId: jobId(n), epoch, reading })
    },
    at: (time: number) => (now = time),
    health: (gpu: GpuId) => gpuUse(state, gpu).health,
    working: () =>
      [...state.running.values()]
        .filter(({ phase }) => phase === 'generating')
        .map(({ seq, gpu }) => [seq, gpu]),
    submits: (...numbers: number[]) => numbers.flatMap((n) => claims(submit(n))),
    fails(n: number, gpu: GpuId, code: FailureCode) {
      ready(gpu)
      submit(n)
      return ends(n, code)
    },
    succeeds(n: number, gpu: GpuId) {
      ready(gpu)
      submit(n)
      return ends(n)
    },
  }
}
