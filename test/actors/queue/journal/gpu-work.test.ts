import { describe, expect, it } from 'vitest'
import { gpuWorkOf } from '../../../../src/actors/queue/journal/gpu-work.ts'
import type { QueueNews } from '../../../../src/actors/queue/queue-protocol.ts'
import { restoreQueue } from '../../../../src/actors/queue/queue-restore.ts'
import type { QueueState } from '../../../../src/actors/queue/queue-state.ts'
import { transition } from '../../../../src/actors/queue/rules/queue-transition.ts'
import type { Job, Reading } from '../../../../src/domain/job.ts'
import {
  aQueuedJob,
  aRunningJob,
  emptyQueue,
  gpu0,
  gpu1,
  gpu2,
  jobId,
  midnight,
  queueSettings,
} from '../../../support/jobs.ts'
import { withHome } from '../../../support/nodes.ts'

const aQueue = (jobs: Readonly<{ waiting?: Job[]; running?: Job[] }>, ...news: QueueNews[]) =>
  news.reduce<QueueState>(
    (state, message) => transition(state, message, midnight)[0],
    restoreQueue(queueSettings, {
      ...{
        ...emptyQueue,
        nextSeq: 10,
      },
      ...jobs,
    }),
  )

const ready = (gpu: typeof gpu0): QueueNews => ({
  type: 'gpuReady',
  gpu,
  incarnation: `gpu-${gpu}`,
})
const spellsOf = (state: QueueState) => gpuWorkOf(state).get(gpu0)
const workOf = (state: QueueState) => spellsOf(state)?.at(-1)?.work
const waiting = [aQueuedJob(8), aQueuedJob(9)]

describe('a GPU without a generation', () => {
  it('has no work while no job waits, whatever keeps it from work', () => {
    expect(workOf(aQueue({}))).toBe('no_work')
    expect(workOf(aQueue({}, ready(gpu0)))).toBe('no_work')
  })

  it('is in a gap while jobs wait that it may have', () => {
    const state = aQueue({}, ready(gpu0))
    expect(workOf({ ...state, waiting: aQueue({ waiting }).waiting })).toBe('gap')
  })

  it.each<[why: string, state: QueueState]>([
    ['its actor is down', aQueue({ waiting })],
    [
      'there is no room',
      withHome({ ...aQueue({ waiting }), readyGpus: new Map([[gpu0, 'x']]) }, { hasRoom: false }),
    ],
    [
      'the service stops',
      { ...aQueue({ waiting }), readyGpus: new Map([[gpu0, 'x']]), open: false },
    ],
    [
      'it is drained',
      {
        ...aQueue({ waiting }),
        readyGpus: new Map([[gpu0, 'x']]),
        gpuHealth: new Map([[gpu0, { drained: true, failures: [] }]]),
      },
    ],
  ])('is blocked while jobs wait and %s', (_, state) => {
    expect(workOf(state)).toBe('blocked')
  })
})

describe('a GPU with a generation', () => {
  const began = { loading: midnight, imported: midnight + 1 }
  const { imported: _, ...notImported } = began

  it.each<[work: string, reading: Reading | undefined]>([
    ['starting', undefined],
    ['importing', { stage: 'loading', source: 'events', began: notImported }],
    ['loading', { stage: 'loading', source: 'events', began }],
    // The output does not tell one from the other.
    ['loading', { stage: 'loading', source: 'log', began: notImported }],
    ['encoding', { stage: 'encoding', source: 'events', began }],
    ['denoising', { stage: 'denoising', source: 'log' }],
    ['decoding', { stage: 'decoding', source: 'events', began }],
    ['saving', { stage: 'saving', source: 'events', began }],
  ])('is %s after %j', (work, reading) => {
    const news = { type: 'generationReported', gpu: gpu0, jobId: jobId(1), epoch: 1 } as const
    const read = reading ? [{ ...news, reading }] : []
    expect(workOf(aQueue({ running: [aRunningJob(1)], waiting }, ...read))).toBe(work)
  })

  it('says since when it is in each stage that was seen', () => {
    const reading: Reading = {
      stage: 'decoding',
      source: 'events',
      began: { ...began, encoding: midnight + 2, denoising: midnight + 3, decoding: midnight + 9 },
    }
    const news = { type: 'generationReported', gpu: gpu0, jobId: jobId(1), epoch: 1 } as const
    const claimed = aRunningJob(1, { claimedAt: midnight - 1 })
    expect(spellsOf(aQueue({ running: [claimed] }, { ...news, reading }))).toEqual([
      { work: 'starting', since: midnight - 1 },
      { work: 'importing', since: midnight },
      { work: 'loading', since: midnight + 1 },
      { work: 'encoding', since: midnight + 2 },
      { work: 'denoising', since: midnight + 3 },
      { work: 'decoding', since: midnight + 9 },
    ])
  })

  it('has no work left once its video is only converted, and says what its end brought', () => {
    const reading: Reading = {
      stage: 'saving',
      source: 'events',
      began: { ...began, saving: midnight + 5 },
    }
    const key = { jobId: jobId(1), epoch: 1 }
    const state = aQueue(
      { running: [aRunningJob(1)] },
      { type: 'generationReported', gpu: gpu0, reading, ...key },
      { type: 'generationEnded', result: { how: 'completed' }, ...key },
    )
    expect(spellsOf(state)).toEqual([
      { work: 'starting', since: midnight },
      { work: 'importing', since: midnight },
      { work: 'loading', since: midnight + 1 },
      { work: 'saving', since: midnight + 5 },
      { work: 'no_work' },
    ])
  })

  it('is known although it gets no more jobs', () => {
    const former = aRunningJob(1, { gpu: gpu2 })
    const works = gpuWorkOf(aQueue({ running: [former] }))
    expect([...works].map(([gpu, spells]) => [gpu, spells.at(-1)?.work])).toEqual([
      [gpu0, 'no_work'],
      [gpu1, 'no_work'],
      [gpu2, 'starting'],
    ])
  })
})
