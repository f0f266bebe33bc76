import { describe, expect, it } from 'vitest'
import { type ActorRef, answer, createPlace } from '../../../../src/actors/actor.ts'
import type { GenerationResult } from '../../../../src/actors/gpu/gpu-ports.ts'
import { first, values } from '../../../../src/actors/ordered-map.ts'
import { changesBetween } from '../../../../src/actors/queue/journal/changes.ts'
import type { QueueEffect } from '../../../../src/actors/queue/queue-effects.ts'
import type { StoredQueue } from '../../../../src/actors/queue/queue-ports.ts'
import type {
  CancelAnswer,
  CancelSelection,
  JobView,
  QueueCommand,
  QueueNews,
  SubmitAnswer,
} from '../../../../src/actors/queue/queue-protocol.ts'
import { restoreQueue } from '../../../../src/actors/queue/queue-restore.ts'
import { gpuUse, positionOf, type QueueSettings } from '../../../../src/actors/queue/queue-state.ts'
import { maxCancelsPerCommit } from '../../../../src/actors/queue/rules/cancel-rules.ts'
import { expectLoad } from '../../../../src/actors/queue/rules/claim-rules.ts'
import { transition } from '../../../../src/actors/queue/rules/queue-transition.ts'
import type { Client, Scope } from '../../../../src/domain/client.ts'
import { RefusalError } from '../../../../src/domain/errors.ts'
import { blamesEnvironment } from '../../../../src/domain/failures.ts'
import type { AttemptKey } from '../../../../src/domain/job.ts'
import {
  failureCodes,
  type GpuId,
  type JobId,
  type Reading,
  shapeOf,
} from '../../../../src/domain/job.ts'
import { soleNode } from '../../../../src/domain/node.ts'
import {
  aFailure,
  anybody,
  aQueuedJob,
  aRequest,
  aRunningJob,
  aVideo,
  emptyQueue,
  fromAnybody,
  gpu0,
  gpu1,
  gpu2,
  gpuId,
  jobId,
  midnight,
  queueSettings,
  sentOnce,
} from '../../../support/jobs.ts'

const submitter = createPlace<JobView | RefusalError>('submitter')
const canceler = createPlace<CancelAnswer>('canceler')

const denoising = (step: number): Reading => ({ stage: 'denoising', step, totalSteps: 50 })
const completed: GenerationResult = { how: 'completed' }
const failed = (...code: Parameters<typeof aFailure>): GenerationResult => ({
  how: 'failed',
  failure: aFailure(...code),
})

const { repetition } = sentOnce(0)
const hour = 3_600_000

describe('a submission', () => {
  it('is prepared first, while there is room for it', () => {
    const draft = { ...aRequest(), filename: 'fox.mp4' }
    expect(
      aQueue().tell({ type: 'submit', draft, client: anybody, repetition, replyTo: submitter }),
    ).toEqual([{ do: 'prepareSubmission', draft, client: anybody, repetition, replyTo: submitter }])
  })

  it('is stored, and then answered with its place in the queue', () => {
    const queue = aQueue()
    queue.submits(1)
    const request = aRequest()
    expect(queue.submits(2)).toEqual([
      {
        do: 'store',
        operation: { op: 'submit', jobId: jobId(2), seq: 2, request, ...fromAnybody, at: midnight },
      },
      {
        do: 'store',
        operation: {
          op: 'remember',
          jobId: jobId(2),
          identity: sentOnce(2).identity,
          keepSince: midnight - 24 * hour,
          at: midnight,
        },
      },
      answer(submitter, { job: aQueuedJob(2), position: 2 }),
      { do: 'logStatus', jobId: jobId(2), status: 'queued', epoch: 0 },
    ])
    expect(queue.positions(1, 2)).toEqual([1, 2])
  })

  it('is answered as queued even when a free GPU takes it in the same breath', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    const effects = queue.submits(1)
    expect(answerOf(effects)).toMatchObject({ job: { state: { status: 'queued' } }, position: 1 })
    expect(claimsIn(effects)).toEqual([[1, gpu0]])
    expect(queue.positions(1)).toEqual([undefined])
  })

  it('is refused when MAX_QUEUE jobs wait, before and after it is prepared', () => {
    const queue = aQueue({ maxQueue: 2 })
    queue.submits(1, 2)
    const draft = aRequest()
    for (const effects of [
      queue.tell({ type: 'submit', draft, client: anybody, repetition, replyTo: submitter }),
      queue.submits(3),
    ]) {
      expect(effects).toHaveLength(1)
      expect(answerOf(effects)).toMatchObject({ code: 'queue_full' })
    }
    expect(queue.waiting()).toEqual([1, 2])
  })

  it('is not refused on account of jobs that run', () => {
    const queue = aQueue({ maxQueue: 1 })
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.submits(2)
    expect(queue.waiting()).toEqual([2])
  })

  it('is refused when the service is closing, before and after it is prepared', () => {
    const queue = aQueue()
    queue.tell({ type: 'close', mode: 'detach', replyTo: createPlace<'closed'>('nobody') })
    const submit = queue.tell({
      type: 'submit',
      draft: aRequest(),
      client: anybody,
      repetition,
      replyTo: submitter,
    })
    expect(answerOf(submit)).toMatchObject({ code: 'shutting_down' })
    expect(answerOf(queue.submits(1))).toMatchObject({ code: 'shutting_down' })
    expect(queue.waiting()).toEqual([])
  })
})

describe('the name a submission asks for', () => {
  const taken = expect.objectContaining({ code: 'filename_taken', field: 'filename' })

  it('is refused when a file or a finished job has it', () => {
    const queue = aQueue()
    expect(answerOf(queue.submitsNamed(1, 'fox.mp4', { nameTaken: true }))).toEqual(taken)
    expect(queue.waiting()).toEqual([])
  })

  it.each(['fox.mp4', 'FOX.mp4'])('is refused as %s when a waiting job has fox.mp4', (name) => {
    const queue = aQueue()
    queue.submitsNamed(1, 'fox.mp4')
    const answer = answerOf(queue.submitsNamed(2, name))
    expect(answer).toBeInstanceOf(RefusalError)
    expect(answer).toEqual(taken)
    expect((answer as RefusalError).message).toContain(name)
  })

  it('is refused while a running or converting job has it', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submitsNamed(1, 'fox.mp4')
    expect(answerOf(queue.submitsNamed(2, 'fox.mp4'))).toEqual(taken)
    queue.generationEnds(1, completed)
    expect(answerOf(queue.submitsNamed(3, 'fox.mp4'))).toEqual(taken)
  })

  it('is kept while its job is tried again', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submitsNamed(1, 'fox.mp4')
    queue.generationEnds(1, failed())
    expect(queue.running(1)).toMatchObject({ epoch: 2, filename: 'fox.mp4' })
    expect(answerOf(queue.submitsNamed(2, 'fox.mp4'))).toEqual(taken)
  })

  it.each<[how: string, end: (queue: Queue) => void]>([
    ['canceled while it waits', (queue) => queue.cancels(2)],
    [
      'canceled while it runs',
      (queue) => {
        queue.gpuIsReady(gpu1)
        queue.cancels(2)
        queue.generationEnds(2, failed('killed'))
      },
    ],
    [
      'failed for good',
      (queue) => {
        queue.gpuIsReady(gpu1)
        queue.generationEnds(2, failed('no_output'))
      },
    ],
    [
      'finished: from then on the record and the file stand for it',
      (queue) => {
        queue.gpuIsReady(gpu1)
        queue.generationEnds(2, completed)
        queue.converts(2)
      },
    ],
  ])('is free again when its job is %s', (_how, end) => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.submitsNamed(2, 'fox.mp4')
    end(queue)
    expect(answerOf(queue.submitsNamed(3, 'Fox.mp4'))).toMatchObject({ position: 1 })
  })

  it('is reserved while the submission is prepared: another is refused at once', () => {
    const queue = aQueue()
    expect(queue.asksFor('fox.mp4')).toMatchObject([{ do: 'prepareSubmission' }])
    expect(answerOf(queue.asksFor('Fox.mp4'))).toEqual(taken)
    expect(answerOf(queue.submitsNamed(1, 'owl.mp4'))).toMatchObject({ position: 1 })
  })

  it('is not checked for a request that may be a repetition, which may get its job', () => {
    const queue = aQueue()
    queue.asksFor('fox.mp4')
    expect(queue.asksFor('fox.mp4', { key: 'key', isRetry: false })).toMatchObject([
      { do: 'prepareSubmission' },
    ])
  })

  it('is free again when the submission could not be prepared, or is refused', () => {
    const queue = aQueue({ maxQueue: 1 })
    const replyTo = createPlace<SubmitAnswer>('submitter')
    queue.asksFor('fox.mp4', repetition, replyTo)
    const error = new Error('the store could not be read')
    expect(
      queue.tell({ type: 'preparationFailed', filename: 'fox.mp4', error, replyTo }),
    ).toMatchObject([{ do: 'answerFailed', to: replyTo, cause: error }])
    queue.submitsNamed(1, 'fox.mp4', { nameTaken: true })
    expect(answerOf(queue.submitsNamed(2, 'fox.mp4'))).toMatchObject({ position: 1 })
  })

  it('is made by the service when none is asked for, from GPU, time and id', () => {
    const queue = aQueue()
    queue.submits(1)
    queue.gpuIsReady(gpu1)
    expect(queue.running(1)?.filename).toBe('result_gpu1_2026-01-01_00-00-00_00000001.mp4')
  })

  it('is made anew for each attempt when none is asked for', () => {
    const queue = aQueue()
    queue.gpusAreReady(gpu0, gpu1)
    queue.submits(1)
    queue.at(midnight + 61_000)
    queue.generationEnds(1, failed())
    expect(queue.running(1)?.filename).toBe('result_gpu1_2026-01-01_00-01-01_00000001.mp4')
  })
})

describe('a claim', () => {
  it('is stored before the generation is started', () => {
    const queue = aQueue()
    queue.submitsNamed(1, 'fox.mp4')
    const job = { jobId: jobId(1), epoch: 1, gpu: gpu0 }
    expect(queue.gpuIsReady(gpu0)).toEqual([
      {
        do: 'store',
        operation: { op: 'claim', ...job, attempt: 1, filename: 'fox.mp4', at: midnight },
      },
      { do: 'startGeneration', ...job },
      { do: 'logStatus', ...job, attempt: 1, status: 'running' },
    ])
    expect(queue.running(1)).toEqual({
      ...job,
      owner: null,
      seq: 1,
      submittedAt: midnight,
      attempts: 1,
      shape: shapeOf(aRequest()),
      filename: 'fox.mp4',
      requestedFilename: 'fox.mp4',
      phase: 'generating',
      claimedAt: midnight,
      cancelRequested: false,
    })
  })

  it('takes the oldest job first', () => {
    const queue = aQueue()
    queue.submits(1, 2, 3)
    expect(claimsIn(queue.gpuIsReady(gpu0))).toEqual([[1, gpu0]])
    expect(claimsIn(queue.gpuIsReady(gpu1))).toEqual([[2, gpu1]])
    expect(queue.waiting()).toEqual([3])
  })

  it('gives a GPU one job at a time', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1, 2)
    expect(queue.waiting()).toEqual([2])
  })

  it('takes the GPU that finishes first by its own history', () => {
    const queue = aQueue()
    queue.learns([gpu0, 500], [gpu1, 300])
    queue.gpusAreReady(gpu0, gpu1)
    expect(claimsIn(queue.submits(1, 2))).toEqual([
      [1, gpu1],
      [2, gpu0],
    ])
  })

  it('takes a GPU without a history for one like the others', () => {
    const queue = aQueue({ gpus: [gpu0, gpu1, gpu2] })
    queue.learns([gpu0, 500], [gpu1, 300])
    queue.gpusAreReady(gpu0, gpu1, gpu2)
    expect(claimsIn(queue.submits(1, 2, 3))).toEqual([
      [1, gpu1],
      [2, gpu2],
      [3, gpu0],
    ])
  })

  it('takes the lowest number among equals, in whatever order the GPUs came', () => {
    const queue = aQueue({ gpus: [gpu2, gpu0, gpu1] })
    queue.gpusAreReady(gpu2, gpu1, gpu0)
    expect(claimsIn(queue.submits(1, 2, 3))).toEqual([
      [1, gpu0],
      [2, gpu1],
      [3, gpu2],
    ])
  })

  it('gives nothing to a GPU that is gone', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.tell({ type: 'gpuGone', gpu: gpu0, givenUp: false })
    expect(claimsIn(queue.submits(1))).toEqual([])
    expect(claimsIn(queue.gpuIsReady(gpu1))).toEqual([[1, gpu1]])
  })

  it('gives nothing to anybody once the service is closing', () => {
    const queue = aQueue()
    queue.submits(1, 2)
    queue.gpuIsReady(gpu0)
    queue.tell({ type: 'close', mode: 'detach', replyTo: createPlace<'closed'>('nobody') })
    expect(claimsIn(queue.gpuIsReady(gpu1))).toEqual([])
    expect(claimsIn(queue.generationEnds(1, completed))).toEqual([])
    expect(queue.waiting()).toEqual([2])
  })

  it('raises the epoch each time', () => {
    const queue = aQueue({ maxAttempts: 3 })
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.generationEnds(1, failed())
    queue.generationEnds(1, failed())
    expect(queue.running(1)).toMatchObject({ epoch: 3, attempts: 3 })
  })
})

describe('the loading of models', () => {
  it('is staggered: while as many load as memory holds, the next job waits', () => {
    const queue = aQueue({ gpus: [gpu0, gpu1, gpu2], maxConcurrentLoads: 2 })
    queue.gpusAreReady(gpu0, gpu1, gpu2)
    expect(claimsIn(queue.submits(1, 2, 3))).toEqual([
      [1, gpu0],
      [2, gpu1],
    ])
  })

  it.each<[what: string, end: (queue: Queue) => readonly QueueEffect[]]>([
    ['is past it', (queue) => queue.reports(1, { stage: 'encoding' })],
    ['is over', (queue) => queue.generationEnds(1, completed)],
    ['has failed for good', (queue) => queue.generationEnds(1, failed('no_output'))],
  ])('lets the next begin as soon as one %s', (_what, end) => {
    const queue = aQueue({ maxConcurrentLoads: 1 })
    queue.gpusAreReady(gpu0, gpu1)
    queue.submits(1, 2)
    expect(queue.waiting()).toEqual([2])
    expect(claimsIn(end(queue))).toHaveLength(1)
  })

  it('goes on through silence, and when it is reported', () => {
    const queue = aQueue({ maxConcurrentLoads: 1 })
    queue.gpusAreReady(gpu0, gpu1)
    queue.submits(1, 2)
    expect(claimsIn(queue.generationStarts(1))).toEqual([])
    expect(claimsIn(queue.reports(1, { stage: 'loading' }))).toEqual([])
  })

  it('may still be going on in what a restarted service finds running', () => {
    const queue = aQueue(
      { maxConcurrentLoads: 1 },
      { running: [aRunningJob(1)], waiting: [aQueuedJob(2)] },
    )
    expect(claimsIn(queue.gpuIsReady(gpu1))).toEqual([])
    queue.gpuIsReady(gpu0)
    expect(claimsIn(queue.reports(1, denoising(3)))).toEqual([[2, gpu1]])
  })

  it('takes turns with that of a template, which goes first', () => {
    const queue = aQueue({ maxConcurrentLoads: 1 })
    queue.gpusAreReady(gpu0, gpu1)
    queue.submits(1, 2)
    const turn = { do: 'giveTemplateTurn', node: soleNode, build: 3 } as const
    expect(queue.tell({ type: 'templateWaits', build: 3 })).toEqual([])
    const begun = queue.reports(1, { stage: 'encoding' })
    expect(begun).toContainEqual(turn)
    expect(claimsIn(begun)).toEqual([])
    expect(queue.tell({ type: 'templateWaits', build: 3 })).toEqual([turn])
    expect(queue.tell({ type: 'templateSettled', build: 2 })).toEqual([])
    expect(claimsIn(queue.tell({ type: 'templateSettled', build: 3 }))).toEqual([[2, gpu1]])
  })

  it('of a template holds up no job for longer than four usual loads', () => {
    const queue = aQueue({ maxConcurrentLoads: 1 })
    queue.gpuIsReady(gpu0)
    const loadSeconds = new Map([[gpu0, 80]])
    queue.tell({ type: 'speedsLearned', secondsPerJob: new Map(), loadSeconds })
    expect(queue.tell({ type: 'templateWaits', build: 1 })).toContainEqual({
      do: 'expectTemplate',
      node: soleNode,
      build: 1,
      withinMs: 320_000,
    })
    queue.submits(1)
    expect(queue.waiting()).toEqual([1])
    expect(claimsIn(queue.tell({ type: 'templateOverdue', build: 1 }))).toEqual([[1, gpu0]])
  })

  it('is not what a converting job does', () => {
    const queue = aQueue(
      { maxConcurrentLoads: 1 },
      { running: [aRunningJob(1, { phase: 'converting' })], waiting: [aQueuedJob(2)] },
    )
    expect(claimsIn(queue.gpuIsReady(gpu0))).toEqual([[2, gpu0]])
  })
})

describe('news of an attempt', () => {
  it('tells when the generation began', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    expect(queue.generationStarts(1, midnight + 5)).toEqual([
      {
        do: 'store',
        operation: { op: 'began', jobId: jobId(1), epoch: 1, at: midnight + 5 },
      },
    ])
    expect(queue.running(1)).toMatchObject({ startedAt: midnight + 5 })
  })

  it('stores the command that it reports', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    const command = ['python3', 'generate.py']
    expect(queue.generationStarts(1, midnight, command)).toEqual([
      { do: 'store', operation: { op: 'began', jobId: jobId(1), epoch: 1, at: midnight, command } },
    ])
  })

  it('stores how it was started, and shows that of its GPU while it runs', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    const news = { startedAt: midnight, start: 'warm', jobId: jobId(1), epoch: 1 } as const
    expect(queue.tell({ type: 'generationStarted', gpu: gpu0, ...news })).toEqual([
      {
        do: 'store',
        operation: { op: 'began', jobId: jobId(1), epoch: 1, at: midnight, start: 'warm' },
      },
    ])
    expect(gpuUse(queue.state(), gpu0)).toMatchObject({ jobId: jobId(1), start: 'warm' })
    queue.generationEnds(1, { how: 'completed' })
    expect(gpuUse(queue.state(), gpu0)).not.toHaveProperty('start')
  })

  it('changes nothing when it tells so again', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.generationStarts(1, midnight + 5)
    const before = queue.state()
    expect(queue.generationStarts(1, midnight + 5)).toEqual([])
    expect(queue.state()).toBe(before)
  })

  it('is kept in memory only while it tells how far the generation is', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    expect(queue.reports(1, denoising(7))).toEqual([])
    expect(queue.running(1)?.reading).toEqual(denoising(7))
  })

  it.each<[earlier: Reading, later: Reading]>([
    [{ stage: 'loading' }, { stage: 'encoding' }],
    [{ stage: 'encoding' }, { stage: 'denoising' }],
    [{ stage: 'denoising' }, denoising(1)],
    [denoising(1), denoising(2)],
    [denoising(50), { stage: 'decoding' }],
    [{ stage: 'decoding' }, { stage: 'saving' }],
  ])('never goes back: %o comes before %o', (earlier, later) => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.reports(1, earlier)
    queue.reports(1, later)
    queue.reports(1, earlier)
    expect(queue.running(1)?.reading).toEqual(later)
  })

  it.each<QueueNews>([
    { type: 'generationEnded', result: completed, jobId: jobId(1), epoch: 1 },
    { type: 'generationEnded', result: { how: 'neverBegan' }, jobId: jobId(1), epoch: 1 },
    { type: 'generationEnded', result: { how: 'lost' }, jobId: jobId(1), epoch: 1 },
    { type: 'runDeclined', jobId: jobId(1), epoch: 1 },
    { type: 'converted', video: aVideo(), jobId: jobId(1), epoch: 1 },
    { type: 'conversionFailed', failure: aFailure(), jobId: jobId(1), epoch: 1 },
    { type: 'conversionAborted', jobId: jobId(1), epoch: 1 },
  ])('is dropped when it is of an older epoch: $type', (news) => {
    for (const queue of [generatingAgain(), convertingAgain(), waitingAgain(), over()]) {
      const before = queue.state()
      expect(queue.tell(news)).toEqual([])
      expect(queue.state()).toBe(before)
    }
  })

  it.each<QueueNews>([
    { type: 'generationStarted', gpu: gpu1, startedAt: midnight, jobId: jobId(1), epoch: 1 },
    { type: 'generationReported', gpu: gpu1, reading: denoising(3), jobId: jobId(1), epoch: 1 },
  ])(
    'has a generation of an older epoch stopped on its GPU, and changes nothing: $type',
    (news) => {
      for (const queue of [generatingAgain(), convertingAgain(), waitingAgain(), over()]) {
        const before = queue.state()
        expect(queue.tell(news)).toEqual([
          { do: 'stopGeneration', jobId: jobId(1), epoch: 1, gpu: gpu1, reason: 'orphaned' },
        ])
        expect(queue.state()).toBe(before)
      }
    },
  )

  it('has no generation stopped whose job waits unclaimed at its epoch', () => {
    const queue = aQueue({}, { waiting: [aQueuedJob(1, { epoch: 1 })] })
    const news = { gpu: gpu0, reading: denoising(3), jobId: jobId(1), epoch: 1 } as const
    expect(queue.tell({ type: 'generationReported', ...news })).toEqual([])
  })

  it.each<QueueNews>([
    { type: 'generationReported', gpu: gpu0, reading: denoising(3), jobId: jobId(1), epoch: 2 },
    { type: 'generationEnded', result: failed(), jobId: jobId(1), epoch: 2 },
    { type: 'runDeclined', jobId: jobId(1), epoch: 2 },
  ])('is dropped when the attempt is converting already: $type', (news) => {
    const queue = convertingAgain()
    const before = queue.state()
    expect(queue.tell(news)).toEqual([])
    expect(queue.state()).toBe(before)
  })

  it.each<QueueNews>([
    { type: 'converted', video: aVideo(), jobId: jobId(1), epoch: 2 },
    { type: 'conversionFailed', failure: aFailure(), jobId: jobId(1), epoch: 2 },
    { type: 'conversionAborted', jobId: jobId(1), epoch: 2 },
  ])('is dropped when the attempt is not converting yet: $type', (news) => {
    const queue = generatingAgain()
    const before = queue.state()
    expect(queue.tell(news)).toEqual([])
    expect(queue.state()).toBe(before)
  })

  /** Job 1 at its second attempt. */
  function generatingAgain() {
    const queue = aQueue({ maxAttempts: 3 })
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.generationEnds(1, failed())
    return queue
  }

  function convertingAgain() {
    const queue = generatingAgain()
    queue.generationEnds(1, completed)
    return queue
  }

  function waitingAgain() {
    const queue = generatingAgain()
    queue.tell({ type: 'gpuGone', gpu: gpu0, givenUp: false })
    queue.generationEnds(1, failed())
    return queue
  }

  function over() {
    const queue = convertingAgain()
    queue.converts(1)
    return queue
  }
})

describe('a generation that has completed', () => {
  it('frees its GPU for the next job at once, and is converted', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submitsNamed(1, 'fox.mp4')
    queue.submits(2)
    queue.reports(1, { stage: 'saving' })
    queue.at(midnight + 500_000)
    const job = { jobId: jobId(1), epoch: 1 }
    const effects = queue.generationEnds(1, completed)
    expect(effects.slice(0, 2)).toEqual([
      { do: 'store', operation: { op: 'generated', ...job, at: midnight + 500_000 } },
      { do: 'convert', node: soleNode, ...job, filename: 'fox.mp4' },
    ])
    expect(claimsIn(effects)).toEqual([[2, gpu0]])
    expect(queue.running(1)).toMatchObject({
      phase: 'converting',
      generatedAt: midnight + 500_000,
    })
    expect(queue.running(1)).not.toHaveProperty('reading')
  })

  it('is not followed by another while 64 wait to be converted, until one of them has been', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    const made = Array.from({ length: 64 }, (_, index) => index + 1)
    for (const n of made) {
      queue.submits(n)
      queue.generationEnds(n, completed)
    }
    expect(claimsIn(queue.submits(65))).toEqual([])
    expect(claimsIn(queue.conversionFails(1, 'conversion_failed'))).toEqual([[65, gpu0]])
    queue.generationEnds(65, completed)
    expect(claimsIn(queue.submits(66))).toEqual([])
    expect(claimsIn(queue.converts(2))).toEqual([[66, gpu0]])
  })

  it('is a success once it is converted, and history for the estimates', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu1)
    queue.submits(1)
    queue.at(midnight + 500_000)
    queue.generationEnds(1, completed)
    queue.at(midnight + 503_000)
    const job = { jobId: jobId(1), epoch: 1 }
    const video = aVideo()
    expect(queue.converts(1)).toEqual([
      {
        do: 'store',
        operation: {
          op: 'finish',
          ...job,
          outcome: { status: 'success', video },
          at: midnight + 503_000,
        },
      },
      { do: 'discardWork', jobId: jobId(1) },
      { do: 'logStatus', ...job, attempt: 1, status: 'success', gpu: gpu1 },
      {
        do: 'tellEta',
        attempt: {
          ...{ ...job, attempts: 1, gpu: gpu1, shape: shapeOf(aRequest()) },
          ...{ claimedAt: midnight, generatedAt: midnight + 500_000, endedAt: midnight + 503_000 },
        },
      },
    ])
    expect(queue.running(1)).toBeUndefined()
  })
})

describe('a job whose attempt has failed', () => {
  it('is tried again in its old place, with the attempt counted', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1, 2, 3)
    queue.tell({ type: 'gpuGone', gpu: gpu0, givenUp: false })
    const failure = aFailure()
    expect(queue.generationEnds(1, { how: 'failed', failure }).slice(2)).toEqual([
      {
        do: 'store',
        operation: {
          op: 'release',
          jobId: jobId(1),
          epoch: 1,
          attempts: 1,
          failure,
          at: midnight,
        },
      },
      {
        do: 'logStatus',
        jobId: jobId(1),
        status: 'queued',
        epoch: 1,
        attempt: 1,
        gpu: gpu0,
        failure,
      },
    ])
    expect(queue.waiting()).toEqual([1, 2, 3])
    expect(queue.positions(1, 2, 3)).toEqual([1, 2, 3])
  })

  it('goes before younger jobs when a GPU is free', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1, 2)
    expect(claimsIn(queue.generationEnds(1, failed()))).toEqual([[1, gpu0]])
  })

  it('is tried on another GPU when one is free, even a slower one', () => {
    const queue = aQueue()
    queue.learns([gpu0, 300], [gpu1, 900])
    queue.gpusAreReady(gpu0, gpu1)
    queue.submits(1)
    expect(claimsIn(queue.generationEnds(1, failed()))).toEqual([[1, gpu1]])
  })

  it('waits for another GPU if there is one, and lets those behind it go first', () => {
    const queue = aQueue()
    queue.gpusAreReady(gpu0, gpu1)
    queue.submits(1, 2, 3)
    expect(claimsIn(queue.generationEnds(1, failed()))).toEqual([[3, gpu0]])
    expect(claimsIn(queue.generationEnds(2, completed))).toEqual([[1, gpu1]])
  })

  it('is tried on the same GPU when the others are drained', () => {
    const queue = aQueue()
    queue.gpusAreReady(gpu0, gpu1)
    queue.submits(1, 2)
    queue.tell({ type: 'drainGpu', gpu: gpu1, replyTo: createPlace('operator') })
    expect(claimsIn(queue.generationEnds(1, failed()))).toEqual([[1, gpu0]])
  })

  it('is not tried more than MAX_ATTEMPTS times', () => {
    const queue = aQueue({ maxAttempts: 2 })
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.generationEnds(1, failed('gpu_error'))
    const failure = aFailure('out_of_memory')
    const effects = queue.generationEnds(1, { how: 'failed', failure })
    expect(outcomesIn(effects)).toEqual([{ status: 'error', failure }])
    expect(effects).toContainEqual({ do: 'discardWork', jobId: jobId(1) })
    expect(queue.running(1)).toBeUndefined()
  })

  const again = [
    'generation_failed',
    'out_of_memory',
    'gpu_error',
    'killed',
    'lost',
    'node_lost',
    'truncated_output',
  ]
  it.each(
    failureCodes
      .filter((code) => !blamesEnvironment(code))
      .map((code) => [code, again.includes(code) ? 'tried again' : 'over'] as const),
  )('for %s is %s, whether it fails generating or converting', (code, fate) => {
    const generating = aQueue()
    generating.gpuIsReady(gpu0)
    generating.submits(1)
    const converting = aQueue()
    converting.gpuIsReady(gpu0)
    converting.submits(1)
    converting.generationEnds(1, completed)

    for (const effects of [
      generating.generationEnds(1, failed(code)),
      converting.conversionFails(1, code),
    ]) {
      expect(claimsIn(effects)).toEqual(fate === 'over' ? [] : [[1, gpu0]])
      expect(outcomesIn(effects)).toEqual(
        fate === 'over' ? [{ status: 'error', failure: aFailure(code) }] : [],
      )
    }
  })
})

describe('a job whose attempt the environment has failed', () => {
  const codes = failureCodes.filter(blamesEnvironment)

  it.each(codes)('returns to its place for %s, and the attempt does not count', (code) => {
    const queue = aQueue({ maxAttempts: 1 })
    queue.gpuIsReady(gpu0)
    queue.submits(1, 2)
    const effects = queue.generationEnds(1, failed(code))
    expect(outcomesIn(effects)).toEqual([])
    expect(claimsIn(effects)).toEqual([])
    expect(queue.waiting()).toEqual([1, 2])
    expect(effects).toContainEqual({ do: 'checkEnvironment', node: soleNode })
    expect(effects).toContainEqual({ do: 'expectPause', node: soleNode, pause: 1, withinMs: 1_000 })
    expect(claimsIn(queue.tell({ type: 'pauseEnded', pause: 1 }))).toEqual([[1, gpu0]])
    expect(queue.running(1)).toMatchObject({ epoch: 2, attempts: 1 })
  })

  it.each(codes)('returns to its place for %s of its conversion, too', (code) => {
    const queue = aQueue({ maxAttempts: 1 })
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.generationEnds(1, completed)
    expect(outcomesIn(queue.conversionFails(1, code))).toEqual([])
    expect(queue.waiting()).toEqual([1])
  })

  it('is the only one that is tried until it gets further than before', () => {
    const queue = aQueue()
    queue.gpusAreReady(gpu0, gpu1)
    queue.submits(1, 2, 3, 4)
    queue.generationEnds(1, failed('resources_exhausted'))
    queue.generationEnds(2, failed('resources_exhausted'))
    expect(claimsIn(queue.tell({ type: 'pauseEnded', pause: 1 }))).toEqual([[1, gpu0]])
    expect(claimsIn(queue.reports(1, { stage: 'loading' }))).toEqual([])
    expect(claimsIn(queue.reports(1, { stage: 'encoding' }))).toEqual([[2, gpu1]])
  })

  it('is not claimed while a standing check fails, nor is any other', () => {
    const queue = aQueue()
    const script = { name: 'generate.py', ok: false, detail: 'It is not there.' }
    const effects = queue.tell({ type: 'environmentChecked', checks: [script] })
    expect(effects).toMatchObject([{ do: 'logHold', hold: { reason: 'environment' } }])
    expect(queue.gpusAreReady(gpu0, gpu1)).toEqual([])
    expect(claimsIn(queue.submits(1, 2))).toEqual([])
    const found = queue.tell({ type: 'environmentChecked', checks: [{ ...script, ok: true }] })
    expect(claimsIn(found)).toEqual([
      [1, gpu0],
      [2, gpu1],
    ])
    expect(found).toContainEqual({ do: 'logHold', node: soleNode, hold: undefined })
  })

  it('is shown to watchers as a change, as is the end of its wait', () => {
    const queue = aQueue()
    queue.submits(1, 2)
    const states = [false, true].map((ok) => {
      const before = queue.state()
      queue.tell({ type: 'environmentChecked', checks: [{ name: 'a tool', ok, detail: '' }] })
      return [before, queue.state()] as const
    })
    for (const [before, after] of states) {
      expect([...changesBetween(before, after, [])]).toEqual([
        [jobId(1), 'status'],
        [jobId(2), 'status'],
      ])
      expect(changesBetween(after, after, []).size).toBe(0)
    }
  })

  it('may be canceled while it waits', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1, 2)
    queue.generationEnds(1, failed('disk_full'))
    queue.cancels(1)
    expect(claimsIn(queue.tell({ type: 'pauseEnded', pause: 1 }))).toEqual([[2, gpu0]])
  })

  it('is followed by another probe when the probe hangs while it loads', () => {
    const queue = aQueue()
    queue.gpusAreReady(gpu0, gpu1)
    queue.submits(1, 2)
    queue.generationEnds(1, failed('resources_exhausted'))
    queue.generationEnds(2, failed('resources_exhausted'))
    queue.tell({ type: 'pauseEnded', pause: 1 })
    const overdue = { type: 'loadOverdue', jobId: jobId(1), epoch: 2 } as const
    expect(claimsIn(queue.tell(overdue))).toEqual([[2, gpu1]])
  })
})

describe('a load that takes unusually long', () => {
  it('no longer holds up others', () => {
    const queue = aQueue({ maxConcurrentLoads: 1 })
    queue.gpusAreReady(gpu0, gpu1)
    queue.submits(1, 2)
    expect(queue.waiting()).toEqual([2])
    const overdue = { type: 'loadOverdue', jobId: jobId(1), epoch: 1 } as const
    expect(claimsIn(queue.tell(overdue))).toEqual([[2, gpu1]])
    expect(queue.tell(overdue)).toEqual([])
    expect(gpuUse(queue.state(), gpu0)).toMatchObject({ loadsUnusuallyLong: true })
    queue.reports(1, { stage: 'encoding' })
    expect(gpuUse(queue.state(), gpu0)).toMatchObject({ loadsUnusuallyLong: false })
  })

  it.each<[loadSeconds: number | undefined, withinMs: number]>([
    [undefined, 800_000],
    [0.1, 15_000],
    [60, 240_000],
    [3_600, 1_800_000],
  ])('is one that exceeds four times the usual %s s, within bounds', (seconds, withinMs) => {
    const loadSeconds = seconds === undefined ? new Map() : new Map([[gpu0, seconds]])
    expect(expectLoad({ loadSeconds }, { jobId: jobId(1), epoch: 1 }, gpu0)).toEqual({
      ...{ do: 'expectLoad', jobId: jobId(1), epoch: 1, withinMs },
    })
  })
})

describe('a generation on a GPU whose actor is gone', () => {
  const due = { type: 'careDue', jobId: jobId(1), epoch: 1 } as const
  const care = { do: 'careFor', jobId: jobId(1), epoch: 1, gpu: gpu0 } as const

  it.each([
    [true, 5_000],
    [false, 30_000],
  ])('is taken care of after a while, given up: %s', (givenUp, withinMs) => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    const effects = queue.tell({ type: 'gpuGone', gpu: gpu0, givenUp })
    expect(effects).toEqual([{ do: 'expectCare', jobId: jobId(1), epoch: 1, withinMs }])
    expect(queue.tell(due)).toEqual([care])
    expect(queue.tell(due)).toEqual([])
    expect(outcomesIn(queue.generationEnds(1, failed('no_output')))).toHaveLength(1)
  })

  it('is left to its GPU when that is back in time', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.tell({ type: 'gpuGone', gpu: gpu0, givenUp: false })
    queue.gpuIsReady(gpu0, 'gpu-0.2')
    expect(queue.tell(due)).toEqual([])
  })

  it.each(['requeue', 'fail'] as const)('is stopped where ORPHAN_POLICY is %s', (orphanPolicy) => {
    const queue = aQueue({ orphanPolicy })
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.tell({ type: 'gpuGone', gpu: gpu0, givenUp: true })
    queue.tell(due)
    expect(queue.generationStarts(1)).toContainEqual({
      ...{ do: 'stopGeneration', jobId: jobId(1), epoch: 1, gpu: gpu0, reason: 'orphaned' },
    })
  })

  it('is given to a new incarnation of the caretaker', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.tell({ type: 'gpuGone', gpu: gpu0, givenUp: true })
    expect(queue.tell({ type: 'caretakerReady' })).toEqual([])
    queue.tell(due)
    expect(queue.tell({ type: 'caretakerReady' })).toEqual([care])
  })
})

describe('a generation whose end nobody saw', () => {
  it.each(['adopt', 'requeue'] as const)('is tried again by %s', (orphanPolicy) => {
    const queue = aQueue({ orphanPolicy })
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    expect(claimsIn(queue.generationEnds(1, { how: 'lost' }))).toEqual([[1, gpu0]])
    expect(queue.running(1)).toMatchObject({ epoch: 2, attempts: 2 })
    const effects = queue.generationEnds(1, { how: 'lost' })
    expect(outcomesIn(effects)).toMatchObject([{ status: 'error', failure: { code: 'lost' } }])
  })

  it('is an error at once by fail', () => {
    const queue = aQueue({ orphanPolicy: 'fail' })
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    const effects = queue.generationEnds(1, { how: 'lost' })
    expect(outcomesIn(effects)).toMatchObject([{ status: 'error', failure: { code: 'lost' } }])
  })

  it.each(['adopt', 'requeue', 'fail'] as const)(
    'and that had not begun is no attempt at all, by %s',
    (orphanPolicy) => {
      const queue = aQueue({ orphanPolicy, maxAttempts: 1 })
      queue.gpuIsReady(gpu0)
      queue.submits(1)
      queue.tell({ type: 'gpuGone', gpu: gpu0, givenUp: false })
      expect(queue.generationEnds(1, { how: 'neverBegan' })).toEqual([
        {
          do: 'store',
          operation: { op: 'release', jobId: jobId(1), epoch: 1, attempts: 0, at: midnight },
        },
        { do: 'logStatus', jobId: jobId(1), status: 'queued', epoch: 1, attempt: 1, gpu: gpu0 },
      ])
      expect(claimsIn(queue.gpuIsReady(gpu0, 'gpu-0.2'))).toEqual([[1, gpu0]])
      expect(queue.running(1)).toMatchObject({ epoch: 2, attempts: 1 })
    },
  )
})

it('counts no attempt that failed because it was forked from a template', () => {
  const queue = aQueue({ maxAttempts: 1 })
  queue.gpuIsReady(gpu0)
  queue.submits(1)
  queue.generationStarts(1)
  const effects = queue.generationEnds(1, { how: 'forkFailed' })
  expect(outcomesIn(effects)).toEqual([])
  queue.gpuIsReady(gpu0)
  expect(queue.running(1)).toMatchObject({ epoch: 2, attempts: 1 })
})

it('counts an attempt that had started, though no trace of it is left', () => {
  const queue = aQueue({ maxAttempts: 1 })
  queue.gpuIsReady(gpu0)
  queue.submits(1)
  queue.generationStarts(1)
  const effects = queue.generationEnds(1, { how: 'neverBegan' })
  expect(outcomesIn(effects)).toMatchObject([{ status: 'error', failure: { code: 'lost' } }])
})

describe('a GPU that announces itself', () => {
  const held = { jobId: jobId(1), epoch: 1 }
  const other = { jobId: jobId(9), epoch: 4 }
  const stop = { do: 'stopGeneration', gpu: gpu0 } as const

  it('again, as the same incarnation, changes nothing', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    const before = queue.state()
    expect(queue.gpuIsReady(gpu0)).toEqual([])
    expect(queue.gpuIsReady(gpu0, 'gpu-0.1', other)).toEqual([])
    expect(queue.state()).toBe(before)
  })

  it('without the generation it should be at is asked to adopt it', () => {
    const queue = aQueue({}, { running: [aRunningJob(1)] })
    expect(queue.gpuIsReady(gpu0)).toEqual([{ do: 'adoptGeneration', ...held, gpu: gpu0 }])
    expect(queue.running(1)).toMatchObject(held)
  })

  it('as a new incarnation is asked to adopt what the former was at', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1, 2)
    queue.tell({ type: 'gpuGone', gpu: gpu0, givenUp: false })
    expect(queue.gpuIsReady(gpu0, 'gpu-0.2')).toEqual([
      { do: 'adoptGeneration', ...held, gpu: gpu0 },
    ])
    expect(queue.waiting()).toEqual([2])
  })

  it('at the very generation it should be at is left alone', () => {
    for (const orphanPolicy of ['adopt', 'requeue', 'fail'] as const) {
      const queue = aQueue({ orphanPolicy }, { running: [aRunningJob(1)] })
      expect(queue.gpuIsReady(gpu0, 'gpu-0.7', held)).toEqual([])
      expect(queue.running(1)).toMatchObject(held)
    }
  })

  it('at something else must stop that, and gets work only when it is free', () => {
    const queue = aQueue({}, { waiting: [aQueuedJob(1)] })
    expect(queue.gpuIsReady(gpu0, 'gpu-0.1', other)).toEqual([
      { ...stop, ...other, reason: 'orphaned' },
    ])
    expect(queue.waiting()).toEqual([1])
    expect(claimsIn(queue.gpuIsReady(gpu0, 'gpu-0.1'))).toEqual([[1, gpu0]])
  })

  it('at an older epoch of its job must stop that, and then adopts the present one', () => {
    const queue = aQueue({}, { running: [aRunningJob(1, {}, { epoch: 2 })] })
    expect(queue.gpuIsReady(gpu0, 'gpu-0.1', held)).toEqual([
      { ...stop, ...held, reason: 'orphaned' },
    ])
    expect(queue.gpuIsReady(gpu0, 'gpu-0.1')).toEqual([
      { do: 'adoptGeneration', jobId: jobId(1), epoch: 2, gpu: gpu0 },
    ])
  })

  it('is told again of a cancel that the former incarnation did not live to carry out', () => {
    const queue = aQueue({}, { running: [aRunningJob(1, { cancelRequested: true })] })
    expect(queue.gpuIsReady(gpu0)).toEqual([{ do: 'adoptGeneration', ...held, gpu: gpu0 }])
    expect(queue.generationStarts(1)).toContainEqual({ ...stop, ...held, reason: 'canceled' })
  })

  it('is told again of a cancel when it is at that job already', () => {
    const started = { cancelRequested: true, startedAt: midnight }
    const queue = aQueue({}, { running: [aRunningJob(1, started)] })
    expect(queue.gpuIsReady(gpu0, 'gpu-0.3', held)).toEqual([])
    expect(queue.generationStarts(1)).toEqual([{ ...stop, ...held, reason: 'canceled' }])
  })

  it.each([
    ['requeue', 'tried again'],
    ['fail', 'an error'],
  ] as const)(
    'stops an orphan by %s as soon as it is adopted; the job is %s',
    (orphanPolicy, fate) => {
      const queue = aQueue({ orphanPolicy }, { running: [aRunningJob(1)] })
      expect(queue.gpuIsReady(gpu0)).toEqual([{ do: 'adoptGeneration', ...held, gpu: gpu0 }])
      expect(queue.generationStarts(1)).toContainEqual({ ...stop, ...held, reason: 'orphaned' })
      const effects = queue.generationEnds(1, failed('killed'))
      if (fate === 'tried again') {
        expect(claimsIn(effects)).toEqual([[1, gpu0]])
        expect(queue.running(1)).toMatchObject({ epoch: 2, attempts: 2 })
      } else {
        expect(outcomesIn(effects)).toMatchObject([{ status: 'error', failure: { code: 'lost' } }])
      }
    },
  )

  it('is not told to stop the next attempt at a job whose last one was an orphan', () => {
    const queue = aQueue({ orphanPolicy: 'requeue' }, { running: [aRunningJob(1)] })
    queue.gpuIsReady(gpu0)
    queue.generationEnds(1, { how: 'lost' })
    expect(queue.generationStarts(1)).not.toContainEqual(
      expect.objectContaining({ do: 'stopGeneration' }),
    )
  })

  it.each(['requeue', 'fail'] as const)(
    'keeps, by %s too, what had completed before it could be stopped',
    (orphanPolicy) => {
      const queue = aQueue({ orphanPolicy }, { running: [aRunningJob(1)] })
      queue.gpuIsReady(gpu0)
      queue.generationEnds(1, completed)
      expect(queue.running(1)).toMatchObject({ phase: 'converting' })
    },
  )

  it('and is no longer ours finishes what it is at but gets nothing new', () => {
    const former = gpuId(7)
    const queue = aQueue(
      { gpus: [gpu0] },
      { running: [aRunningJob(1, { gpu: former })], waiting: [aQueuedJob(2)] },
    )
    expect(queue.gpuIsReady(former)).toEqual([{ do: 'adoptGeneration', ...held, gpu: former }])
    expect(claimsIn(queue.generationEnds(1, completed))).toEqual([])
    expect(claimsIn(queue.gpuIsReady(former))).toEqual([])
    expect(claimsIn(queue.gpuIsReady(gpu0))).toEqual([[2, gpu0]])
  })
})

describe('a GPU that declines a job', () => {
  it('gets no other until it announces itself, and the job goes to the next', () => {
    const queue = aQueue()
    queue.gpusAreReady(gpu0, gpu1)
    queue.submits(1)
    expect(claimsIn(queue.tell({ type: 'runDeclined', jobId: jobId(1), epoch: 1 }))).toEqual([
      [1, gpu1],
    ])
    expect(queue.running(1)).toMatchObject({ epoch: 2, attempts: 1 })
    expect(claimsIn(queue.submits(2))).toEqual([])
    expect(claimsIn(queue.gpuIsReady(gpu0))).toEqual([[2, gpu0]])
  })

  it('is not asked again and again: without another GPU the job waits', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    expect(claimsIn(queue.tell({ type: 'runDeclined', jobId: jobId(1), epoch: 1 }))).toEqual([])
    expect(queue.waiting()).toEqual([1])
  })

  it('may well have it the next time: it did not fail there', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.tell({ type: 'runDeclined', jobId: jobId(1), epoch: 1 })
    expect(first(queue.state().waiting)?.value).toEqual({
      jobId: jobId(1),
      owner: null,
      seq: 1,
      submittedAt: midnight,
      epoch: 1,
      attempts: 0,
      shape: shapeOf(aRequest()),
    })
  })
})

describe('canceling', () => {
  it('ends a waiting job at once', () => {
    const queue = aQueue()
    queue.submits(1, 2)
    expect(queue.cancels(1)).toEqual([
      {
        do: 'store',
        operation: {
          op: 'finish',
          jobId: jobId(1),
          epoch: 0,
          outcome: { status: 'canceled' },
          at: midnight,
        },
      },
      { do: 'discardWork', jobId: jobId(1) },
      { do: 'logStatus', jobId: jobId(1), status: 'canceled', epoch: 0 },
      answer(canceler, anAnswer({ canceled: [1] })),
    ])
    expect(queue.waiting()).toEqual([2])
    expect(queue.positions(1, 2)).toEqual([undefined, 1])
  })

  it('stores the wish before it stops a generation, and answers when that has ended', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    const job = { jobId: jobId(1), epoch: 1 }
    expect(queue.cancels(1)).toEqual([
      { do: 'store', operation: { op: 'requestCancel', ...job, at: midnight } },
      { do: 'stopGeneration', ...job, gpu: gpu0, reason: 'canceled' },
      {
        do: 'logStatus',
        ...{ ...job, attempt: 1, gpu: gpu0, status: 'running', cancelRequested: true },
      },
      { do: 'expectCancel', ticket: 1, withinMs: 15_000 },
    ])
    expect(queue.running(1)).toMatchObject({ cancelRequested: true })

    const effects = queue.generationEnds(1, failed('killed'))
    expect(outcomesIn(effects)).toEqual([{ status: 'canceled' }])
    expect(cancelAnswersIn(effects)).toEqual([anAnswer({ canceled: [1] })])
    expect(queue.state().tickets.size).toBe(0)
  })

  it('stops a generation that begins only after it was canceled', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.cancels(1)
    expect(queue.generationStarts(1)).toEqual([
      { do: 'store', operation: { op: 'began', jobId: jobId(1), epoch: 1, at: midnight } },
      { do: 'stopGeneration', jobId: jobId(1), epoch: 1, gpu: gpu0, reason: 'canceled' },
    ])
  })

  it('aborts a conversion, and answers when that has ended', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.generationEnds(1, completed)
    expect(queue.cancels(1)).toContainEqual({
      do: 'abortConversion',
      node: soleNode,
      jobId: jobId(1),
      epoch: 1,
      filename: expect.any(String),
    })
    const effects = queue.tell({ type: 'conversionAborted', jobId: jobId(1), epoch: 1 })
    expect(outcomesIn(effects)).toEqual([{ status: 'canceled' }])
    expect(cancelAnswersIn(effects)).toEqual([anAnswer({ canceled: [1] })])
  })

  it.each<[end: string, tell: (queue: Queue) => readonly QueueEffect[]]>([
    ['completes all the same', (queue) => queue.generationEnds(1, completed)],
    ['fails', (queue) => queue.generationEnds(1, failed())],
    ['fails for good', (queue) => queue.generationEnds(1, failed('no_output'))],
    ['never began', (queue) => queue.generationEnds(1, { how: 'neverBegan' })],
    ['is lost', (queue) => queue.generationEnds(1, { how: 'lost' })],
    ['is declined', (queue) => queue.tell({ type: 'runDeclined', jobId: jobId(1), epoch: 1 })],
  ])('makes the job canceled and nothing else when its generation %s', (_end, tell) => {
    for (const orphanPolicy of ['adopt', 'fail'] as const) {
      const queue = aQueue({ orphanPolicy })
      queue.gpuIsReady(gpu0)
      queue.submits(1)
      queue.cancels(1)
      const effects = tell(queue)
      expect(outcomesIn(effects)).toEqual([{ status: 'canceled' }])
      expect(cancelAnswersIn(effects)).toEqual([anAnswer({ canceled: [1] })])
      expect([...queue.waiting(), queue.running(1)]).toEqual([undefined])
    }
  })

  it('makes the job canceled and nothing else when its conversion fails', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.generationEnds(1, completed)
    queue.cancels(1)
    const effects = queue.conversionFails(1, 'truncated_output')
    expect(outcomesIn(effects)).toEqual([{ status: 'canceled' }])
    expect(effects).not.toContainEqual(expect.objectContaining({ do: 'tellEta' }))
  })

  it('has a video taken back that is done all the same, and makes the job canceled after that', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.generationEnds(1, completed)
    queue.cancels(1)
    const attempt = { jobId: jobId(1), epoch: 1 }
    expect(queue.converts(1)).toEqual([
      { do: 'abortConversion', node: soleNode, ...attempt, filename: expect.any(String) },
    ])
    const effects = queue.tell({ type: 'conversionAborted', ...attempt })
    expect(outcomesIn(effects)).toEqual([{ status: 'canceled' }])
    expect(effects).not.toContainEqual(expect.objectContaining({ do: 'tellEta' }))
  })

  it('frees the GPU for the next job when the generation has ended', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1, 2)
    expect(claimsIn(queue.cancels(1))).toEqual([])
    expect(claimsIn(queue.generationEnds(1, failed('killed')))).toEqual([[2, gpu0]])
  })

  it('twice stops the generation once and answers both', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.cancels(1)
    expect(queue.cancels(1)).toEqual([{ do: 'expectCancel', ticket: 2, withinMs: 15_000 }])
    const effects = queue.generationEnds(1, failed('killed'))
    expect(cancelAnswersIn(effects)).toEqual([
      anAnswer({ canceled: [1] }),
      anAnswer({ canceled: [1] }),
    ])
  })

  it('many at once answers when the last of them is gone, naming what was not to be canceled', () => {
    const queue = aQueue()
    queue.gpusAreReady(gpu0, gpu1)
    queue.submits(1, 2, 3)
    const effects = queue.cancels(1, 2, 3, 9, 3, 9)
    expect(outcomesIn(effects)).toEqual([{ status: 'canceled' }])
    expect(cancelAnswersIn(effects)).toEqual([])
    expect(cancelAnswersIn(queue.generationEnds(2, failed('killed')))).toEqual([])
    expect(cancelAnswersIn(queue.generationEnds(1, completed))).toEqual([
      anAnswer({ canceled: [3, 2, 1], rest: [9] }),
    ])
  })

  it('answers in time although a generation will not end, and that job ends as canceled later', () => {
    const queue = aQueue()
    queue.gpusAreReady(gpu0, gpu1)
    queue.submits(1, 2, 3)
    queue.cancels(1, 2, 3)
    queue.generationEnds(2, failed('killed'))
    expect(queue.tell({ type: 'cancelOverdue', ticket: 1 })).toEqual([
      answer(canceler, anAnswer({ canceled: [3, 2], canceling: [1] })),
    ])
    const effects = queue.generationEnds(1, failed('killed'))
    expect(outcomesIn(effects)).toEqual([{ status: 'canceled' }])
    expect(cancelAnswersIn(effects)).toEqual([])
  })

  it('is not overdue any longer once it is answered', () => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.cancels(1)
    queue.generationEnds(1, failed('killed'))
    const before = queue.state()
    expect(queue.tell({ type: 'cancelOverdue', ticket: 1 })).toEqual([])
    expect(queue.state()).toBe(before)
  })

  it.each<[what: string, selection: CancelSelection, canceled: number[], canceling: number[]]>([
    ['all that waits', { status: ['queued'] }, [2, 3], []],
    ['all that runs', { status: ['running'] }, [], [1]],
    ['everything', { status: ['queued', 'running'] }, [2, 3], [1]],
    ['nothing', { status: [] }, [], []],
    ['nothing by id', { ids: [] }, [], []],
  ])('selects %s', (_what, selection, canceled, canceling) => {
    const queue = aQueue()
    queue.gpuIsReady(gpu0)
    queue.submits(1, 2, 3)
    const effects = queue.cancelsBy(selection)
    const overdue = queue.tell({ type: 'cancelOverdue', ticket: 1 })
    expect(cancelAnswersIn([...effects, ...overdue])).toEqual([anAnswer({ canceled, canceling })])
  })

  describe('of more jobs than one commit takes', () => {
    const count = 3 * maxCancelsPerCommit + 7
    const all = Array.from({ length: count }, (_, index) => index + 1)

    /** Groups of effects, each of which is one commit. */
    function groupsAfter(queue: ReturnType<typeof aQueue>, group: readonly QueueEffect[]) {
      const groups = [group]
      for (;;) {
        const next = groups.at(-1)?.find(({ do: what }) => what === 'continueCancel')
        if (next?.do !== 'continueCancel') return groups
        groups.push(queue.tell({ type: 'cancelContinues', ticket: next.ticket }))
      }
    }

    it('takes a bounded number in each commit, in their order, and answers once', () => {
      const queue = aQueue({ maxQueue: count })
      queue.submits(...all)
      const groups = groupsAfter(queue, queue.cancelsBy({ status: ['queued'] }))
      expect(groups.map((effects) => outcomesIn(effects).length)).toEqual([
        ...[maxCancelsPerCommit, maxCancelsPerCommit, maxCancelsPerCommit, 7],
      ])
      expect(groups.flatMap(cancelAnswersIn)).toEqual([anAnswer({ canceled: all })])
      expect(queue.waiting()).toEqual([])
      expect(queue.state().tickets.size).toBe(0)
    })

    it('leaves alone what is submitted meanwhile, and cancels what has started meanwhile', () => {
      const queue = aQueue({ maxQueue: count + 1 })
      queue.submits(...all)
      const first = queue.cancelsBy({ status: ['queued', 'running'] })
      const started = maxCancelsPerCommit + 1
      queue.gpuIsReady(gpu0)
      queue.submits(count + 1)
      expect(groupsAfter(queue, first).flatMap(cancelAnswersIn)).toEqual([])
      expect(queue.waiting()).toEqual([count + 1])
      const [answered] = cancelAnswersIn(queue.generationEnds(started, failed('killed')))
      expect(answered?.canceled.toSorted()).toEqual(all.map(jobId).toSorted())
    })

    it('does not answer because a generation has ended before the last group', () => {
      const queue = aQueue({ maxQueue: count })
      queue.gpuIsReady(gpu0)
      queue.submits(...all)
      const first = queue.cancelsBy({ ids: all.map(jobId) })
      const ended = queue.generationEnds(1, failed('killed'))
      expect(cancelAnswersIn([...first, ...ended])).toEqual([])
      expect(groupsAfter(queue, first).flatMap(cancelAnswersIn)).toEqual([])
      // The GPU has begun the first job of the second group.
      const started = maxCancelsPerCommit + 1
      const [answered] = cancelAnswersIn(queue.generationEnds(started, failed('killed')))
      expect(answered?.canceled).toHaveLength(count)
    })
  })

  it('answers at once when there is nothing to cancel', () => {
    const queue = aQueue()
    expect(queue.cancels(1)).toEqual([answer(canceler, anAnswer({ rest: [1] }))])
  })
})

describe('a queue taken up from the store', () => {
  const waiting = [aQueuedJob(2, { epoch: 1, attempts: 1 }), aQueuedJob(5, { filename: 'b.mp4' })]
  const converting = aRunningJob(
    3,
    { phase: 'converting', generatedAt: midnight + 9 },
    { filename: 'a.mp4' },
  )
  const stored: StoredQueue = {
    nextSeq: 6,
    waiting,
    running: [aRunningJob(1), converting],
    gpus: new Map(),
    drainedNodes: new Set(),
    lost: [],
    submissions: [],
  }

  it('has everything in its place', () => {
    const queue = aQueue({}, stored)
    expect(queue.waiting()).toEqual([2, 5])
    expect(queue.positions(1, 2, 3, 5)).toEqual([undefined, 1, undefined, 2])
    expect(queue.running(1)).toMatchObject({ phase: 'generating', gpu: gpu0, epoch: 1 })
    expect(queue.running(3)).toMatchObject({
      phase: 'converting',
      generatedAt: midnight + 9,
      requestedFilename: 'a.mp4',
    })
    expect(queue.state()).toMatchObject({ nextSeq: 6, open: true })
  })

  it('still promises the names that were asked for', () => {
    const queue = aQueue({}, stored)
    for (const name of ['A.mp4', 'b.MP4']) {
      expect(answerOf(queue.submitsNamed(6, name))).toMatchObject({ code: 'filename_taken' })
    }
    expect(answerOf(queue.submitsNamed(6, 'video-1.mp4'))).toMatchObject({ position: 3 })
  })

  it('requeues a conversion whose files are gone, at no cost', () => {
    const queue = aQueue({}, stored)
    const lost = { type: 'conversionLost', jobId: jobId(3), epoch: 1 } as const
    expect(queue.tell(lost)[0]).toEqual({
      do: 'store',
      operation: { op: 'release', jobId: jobId(3), epoch: 1, attempts: 0, at: midnight },
    })
    expect(queue.waiting()).toEqual([2, 3, 5])
  })

  it('counts an attempt whose files disappear after its generation ended here', () => {
    const queue = aQueue({ maxAttempts: 2 })
    queue.gpuIsReady(gpu0)
    queue.submits(1)
    queue.generationEnds(1, completed)
    const lost = { type: 'conversionLost', jobId: jobId(1), epoch: 1 } as const
    expect(queue.tell(lost)[0]).toMatchObject({
      do: 'store',
      operation: { op: 'release', attempts: 1, failure: { code: 'lost' } },
    })
  })

  it('keeps two jobs of an earlier version whose names are one by now', () => {
    const alike = [
      aQueuedJob(2, { filename: 'Émile.mp4' }),
      aQueuedJob(5, { filename: 'émile.mp4' }),
    ]
    const queue = aQueue({}, { ...stored, waiting: alike, running: [] })
    expect(queue.waiting()).toEqual([2, 5])
    queue.cancels(5)
    expect(answerOf(queue.submitsNamed(6, 'ÉMILE.mp4'))).toMatchObject({ code: 'filename_taken' })
    queue.cancels(2)
    expect(answerOf(queue.submitsNamed(6, 'ÉMILE.mp4'))).toMatchObject({ position: 1 })
  })

  it('claims nothing before a GPU has announced itself, then with a higher epoch', () => {
    const queue = aQueue({}, stored)
    expect(claimsIn(queue.gpuIsReady(gpu1))).toEqual([[2, gpu1]])
    expect(queue.running(2)).toMatchObject({ epoch: 2, attempts: 2 })
  })

  it('puts what comes next behind what was there', () => {
    const queue = aQueue({}, stored)
    queue.submits(4)
    expect(queue.waiting()).toEqual([2, 5, 4])
  })

  it('asks the converter again for what it should convert', () => {
    const queue = aQueue({}, stored)
    expect(queue.tell({ type: 'conversionReady' })).toEqual([
      { do: 'convert', node: soleNode, jobId: jobId(3), epoch: 1, filename: 'a.mp4' },
    ])
  })

  it('asks the converter again to abort what was canceled', () => {
    const canceled = aRunningJob(3, { phase: 'converting', cancelRequested: true })
    const queue = aQueue({}, { running: [canceled] })
    expect(queue.tell({ type: 'conversionReady' })).toEqual([
      { do: 'abortConversion', node: soleNode, jobId: jobId(3), epoch: 1, filename: 'video-3.mp4' },
    ])
  })

  it('does not make a success of what was canceled before', () => {
    const generating = aRunningJob(1, { cancelRequested: true })
    const converting = aRunningJob(3, { phase: 'converting', cancelRequested: true })
    const queue = aQueue({}, { running: [generating, converting] })
    expect(outcomesIn(queue.generationEnds(1, completed))).toEqual([{ status: 'canceled' }])
    expect(queue.converts(3)).toMatchObject([{ do: 'abortConversion', jobId: jobId(3) }])
  })
})

describe('a client', () => {
  const ada: Client = { name: 'ada', isAdmin: false, address: '192.0.2.7' }
  const bob: Client = { name: 'bob', isAdmin: false, address: '192.0.2.8' }

  it('owns what it submits, and its address is not kept', () => {
    expect(aQueue().submitsAs(ada, 1)[0]).toMatchObject({
      do: 'store',
      operation: { op: 'submit', owner: 'ada', address: null },
    })
  })

  it('cancels what is its own, waiting, running and given back, and nothing else', () => {
    const queue = aQueue({ gpus: [gpu0, gpu1], maxAttempts: 2 })
    queue.submitsAs(ada, 1)
    queue.submitsAs(bob, 2)
    queue.gpusAreReady(gpu0, gpu1)
    queue.submitsAs(ada, 3)
    queue.submitsAs(bob, 4)
    queue.generationEnds(2, failed('killed'))
    queue.generationEnds(1, failed('killed'))
    const ids = [1, 2, 3, 4].map(jobId)
    const effects = queue.cancelsBy({ ids }, { owner: 'ada' })
    expect(touchedBy(effects)).toEqual([1, 3])
    expect(touchedBy(queue.cancelsBy({ ids }, { owner: 'bob' }))).toEqual([4, 2])
  })

  it('is answered for jobs of others as for those that do not exist', () => {
    const queue = aQueue()
    queue.submitsAs(bob, 1)
    expect(
      cancelAnswersIn(queue.cancelsBy({ ids: [jobId(1), jobId(9)] }, { owner: 'ada' })),
    ).toEqual([anAnswer({ rest: [1, 9] })])
    expect(queue.waiting()).toEqual([1])
  })

  it('reaches jobs of its own that were restored', () => {
    const waiting = [
      aQueuedJob(1, { owner: 'ada' }),
      aQueuedJob(2, { owner: 'bob' }),
      aQueuedJob(3),
    ]
    const running = [aRunningJob(4, {}, { owner: 'ada' }), aRunningJob(5, { gpu: gpu1 })]
    const queue = aQueue({}, { waiting, running })
    const status = ['queued', 'running'] as const
    expect(touchedBy(queue.cancelsBy({ status }, { owner: 'ada' }))).toEqual([1, 4])
    expect(touchedBy(queue.cancelsBy({ status }, 'everything'))).toEqual([2, 3, 5])
  })
})

describe('JOBS_PER_HOUR', () => {
  const minutes = (n: number) => midnight + n * 60_000
  const ada: Client = { name: 'ada', isAdmin: false, address: '192.0.2.7' }
  const bob: Client = { ...ada, name: 'bob' }
  const nobody = (address: string): Client => ({ name: null, isAdmin: true, address })
  const quotaIn = (effects: readonly QueueEffect[]) => answerOf(effects)?.quota

  it('says with each job how many more there are, and when', () => {
    const queue = aQueue({ jobsPerHour: 2 })
    expect(quotaIn(queue.submitsAs(ada, 1))).toEqual({ limit: 2, remaining: 1, moreInS: 3_600 })
    queue.at(minutes(10))
    expect(quotaIn(queue.submitsAs(ada, 2))).toEqual({ limit: 2, remaining: 0, moreInS: 3_000 })
  })

  it('refuses what is too much, before and after it is prepared, until an hour is over', () => {
    const queue = aQueue({ jobsPerHour: 2 })
    queue.submitsAs(ada, 1)
    queue.at(minutes(10))
    queue.submitsAs(ada, 2)
    queue.at(minutes(59.99))
    const submit = {
      type: 'submit',
      draft: aRequest(),
      client: ada,
      repetition,
      replyTo: submitter,
    } as const
    for (const effects of [queue.tell(submit), queue.submitsAs(ada, 3)]) {
      expect(effects).toHaveLength(1)
      expect(answerOf(effects)).toMatchObject({
        code: 'rate_limited',
        quota: { limit: 2, remaining: 0, moreInS: 1 },
      })
    }
    queue.at(minutes(60))
    expect(quotaIn(queue.submitsAs(ada, 3))).toEqual({ limit: 2, remaining: 0, moreInS: 600 })
    expect(answerOf(queue.submitsAs(ada, 4))).toMatchObject({ code: 'rate_limited' })
  })

  it('counts each client by its name, and who has none by where it comes from', () => {
    const queue = aQueue({ jobsPerHour: 1 })
    const clients = [ada, bob, nobody('192.0.2.7'), nobody('192.0.2.8')]
    for (const [n, client] of clients.entries()) {
      expect(quotaIn(queue.submitsAs(client, n)), client.address).toMatchObject({ remaining: 0 })
    }
    for (const client of clients) {
      expect(answerOf(queue.submitsAs(client, 9))).toMatchObject({ code: 'rate_limited' })
    }
  })

  it('keeps an address for as long as it is to be counted by only', () => {
    const kept = (jobsPerHour: number) =>
      aQueue({ jobsPerHour }).submitsAs(nobody('192.0.2.8'), 1)[0]
    expect(kept(1)).toMatchObject({ operation: { owner: null, address: '192.0.2.8' } })
    expect(kept(0)).toMatchObject({ operation: { owner: null, address: null } })
  })

  it('does not count admins with a name, nor anybody when it is 0', () => {
    const queue = aQueue({ jobsPerHour: 1 })
    const ops: Client = { name: 'ops', isAdmin: true, address: '192.0.2.7' }
    for (const n of [1, 2, 3]) expect(quotaIn(queue.submitsAs(ops, n))).toBeUndefined()
    const free = aQueue({ jobsPerHour: 0 })
    for (const n of [1, 2, 3]) expect(quotaIn(free.submitsAs(ada, n))).toBeUndefined()
    expect(free.waiting()).toEqual([1, 2, 3])
  })

  it('counts what was canceled, and not what was refused', () => {
    const queue = aQueue({ jobsPerHour: 2 })
    queue.submitsAs(ada, 1)
    queue.cancels(1)
    queue.tell({
      ...{ type: 'admit', jobId: jobId(2), request: aRequest({ filename: 'a.mp4' }), client: ada },
      ...sentOnce(2),
      ...{ nameTaken: true, replyTo: submitter },
    })
    expect(quotaIn(queue.submitsAs(ada, 3))).toMatchObject({ remaining: 0 })
  })

  it('remembers over a restart, also with a limit that was lowered', () => {
    const submissions = [1, 2, 3].map((n) => ({ by: 'ada', at: minutes(n) }))
    const queue = aQueue({ jobsPerHour: 2 }, { submissions })
    queue.at(minutes(10))
    expect(quotaIn(queue.submitsAs(ada, 1))).toEqual({ limit: 2, remaining: 0, moreInS: 52 * 60 })
    queue.at(minutes(62))
    expect(quotaIn(queue.submitsAs(ada, 1))).toEqual({ limit: 2, remaining: 0, moreInS: 60 })
  })
})

describe('the queue', () => {
  it('clears away the image of a job that it does not take', () => {
    const queue = aQueue({ maxQueue: 1 })
    queue.submits(1)
    const image = { type: 'png', width: 64, height: 64, bytes: 99, sha256: 'x' } as const
    const refused = queue.tell({
      type: 'admit',
      jobId: jobId(2),
      request: { ...aRequest(), image },
      client: anybody,
      ...sentOnce(2),
      nameTaken: false,
      replyTo: submitter,
    })
    expect(refused).toMatchObject([
      { do: 'answer', value: { code: 'queue_full' } },
      { do: 'discardWork', jobId: jobId(2) },
    ])
  })
})

describe('a repeated submission', () => {
  const withKey = (n: number, fingerprint = 'a', key = 'key') => ({
    ...aSubmission(n),
    identity: { caller: 'somebody', fingerprint, key },
    repetition: { key, isRetry: false },
  })
  const again = (n: number, fingerprint = 'a', caller = 'somebody') => ({
    ...aSubmission(n),
    identity: { caller, fingerprint },
    repetition: { isRetry: true },
  })
  const first = (n: number) => ({ ...again(n), repetition: { isRetry: false } })
  const oldJob = [{ do: 'findRepeated', jobId: jobId(1), replyTo: submitter }]

  it('with the same key gets the job that is there, and makes none', () => {
    const queue = aQueue()
    queue.tell(withKey(1))
    expect(queue.tell(withKey(2))).toEqual(oldJob)
    expect(queue.waiting()).toEqual([1])
  })

  it('with the same key but another request is refused', () => {
    const queue = aQueue()
    queue.tell(withKey(1))
    const effects = queue.tell(withKey(2, 'b'))
    expect(effects).toHaveLength(1)
    expect(answerOf(effects)).toMatchObject({ code: 'idempotency_key_reuse' })
    queue.tell(withKey(3, 'b', 'another key'))
    expect(queue.waiting()).toEqual([1, 3])
  })

  it('is known from the store as well', () => {
    const queue = aQueue()
    const earlier = { jobId: jobId(1), fingerprint: 'a' }
    expect(queue.tell({ ...withKey(2), earlier })).toEqual(oldJob)
    expect(answerOf(queue.tell({ ...withKey(3, 'b'), earlier }))).toMatchObject({
      code: 'idempotency_key_reuse',
    })
    expect(queue.waiting()).toEqual([])
  })

  it('without a key is known by what it asks for, when its client says that it tries again', () => {
    const queue = aQueue()
    queue.tell(first(1))
    expect(queue.tell(again(2))).toEqual(oldJob)
    for (const other of [first(3), again(4, 'b'), again(5, 'a', 'somebody else')]) queue.tell(other)
    expect(queue.waiting()).toEqual([1, 3, 4, 5])
  })

  it('without a key is not known any more after a minute', () => {
    const queue = aQueue()
    queue.tell(first(1))
    queue.at(midnight + 60_000)
    expect(queue.tell(again(2))).toEqual(oldJob)
    queue.at(midnight + 60_001)
    queue.tell(again(3))
    expect(queue.waiting()).toEqual([1, 3])
  })

  it('is known here for a minute at least, however much comes in between', () => {
    const queue = aQueue({ maxQueue: 10_000 })
    for (let n = 1; n <= 240; n++) {
      queue.at(midnight + n * 1_000)
      queue.tell({ ...first(n), identity: { caller: 'somebody', fingerprint: String(n) } })
      const aMinuteAgo = Math.max(1, n - 60)
      expect(queue.tell(again(1_000, String(aMinuteAgo)))).toEqual([
        { do: 'findRepeated', jobId: jobId(aMinuteAgo), replyTo: submitter },
      ])
    }
  })

  it('is answered for even when no new job would be taken', () => {
    const queue = aQueue({ maxQueue: 1 })
    queue.tell(withKey(1))
    expect(answerOf(queue.submits(9))).toMatchObject({ code: 'queue_full' })
    const { repetition } = withKey(2)
    const submit = { type: 'submit', draft: aRequest(), client: anybody, repetition } as const
    expect(queue.tell({ ...submit, replyTo: submitter })).toMatchObject([
      { do: 'prepareSubmission', repetition },
    ])
    expect(queue.tell(withKey(2))).toEqual(oldJob)
    queue.tell({ type: 'close', mode: 'detach', replyTo: createPlace<'closed'>('nobody') })
    expect(queue.tell(withKey(3))).toEqual(oldJob)
  })

  it('leaves no image behind', () => {
    const queue = aQueue()
    queue.tell(withKey(1))
    const image = { type: 'png', width: 64, height: 64, bytes: 99, sha256: 'x' } as const
    expect(queue.tell({ ...withKey(2), request: { ...aRequest(), image } })).toEqual([
      ...oldJob,
      { do: 'discardWork', jobId: jobId(2) },
    ])
  })

  const aSubmission = (n: number) =>
    ({
      type: 'admit',
      jobId: jobId(n),
      request: aRequest(),
      client: anybody,
      nameTaken: false,
      replyTo: submitter,
    }) as const
})

type Queue = ReturnType<typeof aQueue>

/** The queue's rules with the state and the clock kept; each word answers with the effects. */
function aQueue(settings: Partial<QueueSettings> = {}, stored: Partial<StoredQueue> = {}) {
  let state = restoreQueue(
    { ...queueSettings, ...settings },
    {
      ...emptyQueue,
      ...stored,
    },
  )
  let now = midnight

  function tell(message: QueueCommand | QueueNews): readonly QueueEffect[] {
    const [next, effects] = transition(state, message, now)
    state = next
    // Of every claim and adoption: tests of loads are about it.
    return effects.filter((effect) => effect.do !== 'expectLoad')
  }

  /** The present attempt of a job. */
  const attempt = (n: number) => ({
    jobId: jobId(n),
    epoch: state.running.get(jobId(n))?.epoch ?? 0,
  })

  return {
    tell,
    state: () => state,
    at(time: number) {
      now = time
    },
    submits: (...ns: number[]) => ns.flatMap((n) => submitsAs(anybody, n)),
    submitsAs,
    asksFor: (
      filename: string,
      sent = repetition,
      replyTo = createPlace<SubmitAnswer>('submitter'),
    ) =>
      tell({
        type: 'submit',
        draft: aRequest({ filename }),
        client: anybody,
        repetition: sent,
        replyTo,
      }),
    /** As its shell does it: the submission is prepared unless it is refused at once. */
    submitsNamed(n: number, filename: string, { nameTaken = false } = {}) {
      const replyTo = createPlace<SubmitAnswer>(submitter.name)
      const draft = aRequest({ filename })
      const asked = { client: anybody, ...sentOnce(n), replyTo }
      const effects = tell({ type: 'submit', draft, ...asked })
      if (!effects.some((effect) => effect.do === 'prepareSubmission')) return effects
      return tell({ type: 'admit', jobId: jobId(n), request: draft, nameTaken, ...asked })
    },
    gpuIsReady,
    gpusAreReady: (...gpus: GpuId[]) => gpus.flatMap((gpu) => gpuIsReady(gpu)),
    learns: (...secondsPerJob: [GpuId, number][]) =>
      tell({ type: 'speedsLearned', secondsPerJob: new Map(secondsPerJob) }),
    generationStarts: (n: number, startedAt = now, command?: readonly string[]) =>
      tell({
        type: 'generationStarted',
        gpu: gpu0,
        startedAt,
        ...attempt(n),
        ...(command && { command }),
      }),
    reports: (n: number, reading: Reading) =>
      tell({ type: 'generationReported', gpu: gpu0, reading, ...attempt(n) }),
    generationEnds: (n: number, result: GenerationResult) =>
      tell({ type: 'generationEnded', result, ...attempt(n) }),
    converts: (n: number) => tell({ type: 'converted', video: aVideo(), ...attempt(n) }),
    conversionFails: (n: number, ...code: Parameters<typeof aFailure>) =>
      tell({ type: 'conversionFailed', failure: aFailure(...code), ...attempt(n) }),
    cancels: (...ns: number[]) => cancelsBy({ ids: ns.map(jobId) }),
    cancelsBy,
    waiting: () => [...values(state.waiting)].map((job) => numberOf(job.jobId)),
    running: (n: number) => state.running.get(jobId(n)),
    positions: (...ns: number[]) => ns.map((n) => positionOf(state, jobId(n))),
  }

  function submitsAs(client: Client, n: number) {
    return tell({
      type: 'admit',
      jobId: jobId(n),
      request: aRequest(),
      client,
      ...sentOnce(n),
      nameTaken: false,
      replyTo: submitter,
    })
  }

  function gpuIsReady(gpu: GpuId, incarnation = `gpu-${gpu}.1`, holding?: AttemptKey) {
    return tell({ type: 'gpuReady', gpu, incarnation, ...(holding && { holding }) })
  }

  function cancelsBy(selection: CancelSelection, scope: Scope = 'everything') {
    return tell({ type: 'cancel', selection, scope, replyTo: canceler })
  }
}

const numberOf = (id: JobId): number => Number(id.slice(-12))

const answerOf = (effects: readonly QueueEffect[]) => answersIn<SubmitAnswer>(effects, submitter)[0]

/** Answers to anybody of this name. */
const answersIn = <Reply>(effects: readonly QueueEffect[], { name }: ActorRef<Reply>) =>
  effects.flatMap((effect) =>
    effect.do === 'answer' && effect.to.name === name ? [effect.value as Reply] : [],
  )

/** Which job got which GPU, in the order in which they got them. */
const claimsIn = (effects: readonly QueueEffect[]) =>
  effects.flatMap((effect) =>
    effect.do === 'startGeneration' ? [[numberOf(effect.jobId), effect.gpu] as const] : [],
  )

const outcomesIn = (effects: readonly QueueEffect[]) =>
  effects.flatMap((effect) =>
    effect.do === 'store' && effect.operation.op === 'finish' ? [effect.operation.outcome] : [],
  )

/** Which jobs are canceled, or to be. */
const touchedBy = (effects: readonly QueueEffect[]) =>
  effects.flatMap((effect) =>
    effect.do === 'store' && 'jobId' in effect.operation ? [numberOf(effect.operation.jobId)] : [],
  )

const cancelAnswersIn = (effects: readonly QueueEffect[]) => answersIn(effects, canceler)

const anAnswer = (ids: { [list in keyof CancelAnswer]?: number[] }): CancelAnswer => ({
  canceled: (ids.canceled ?? []).map(jobId),
  canceling: (ids.canceling ?? []).map(jobId),
  rest: (ids.rest ?? []).map(jobId),
})
