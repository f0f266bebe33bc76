import { describe, expect, it } from 'vitest'
import { answer, createPlace } from '../../../../src/actors/actor.ts'
import {
  askersOf,
  type Journal,
  type JournalEffect,
  newJournal,
  type QueueMail,
} from '../../../../src/actors/queue/journal/journal-state.ts'
import { createJournal } from '../../../../src/actors/queue/journal/queue-journal.ts'
import type { StoredQueue } from '../../../../src/actors/queue/queue-ports.ts'
import type {
  CancelAnswer,
  GpuUse,
  QueueSummary,
  SubmitAnswer,
} from '../../../../src/actors/queue/queue-protocol.ts'
import { DatabaseUnreachableError, DiskFullError } from '../../../../src/domain/errors.ts'
import {
  anybody,
  aRequest,
  aRunningJob,
  emptyQueue,
  gpu0,
  gpu1,
  jobId,
  midnight,
  queueSettings,
  sentOnce,
} from '../../../support/jobs.ts'

const submitter = createPlace<SubmitAnswer>('submitter')
const canceler = createPlace<CancelAnswer>('canceler')
const committed = { how: 'committed' } as const
const full = { how: 'full', error: new DiskFullError('the disk is full') } as const
const stale = { how: 'stale', why: 'claim of a job comes too late' } as const

describe('a journal that loads', () => {
  it('keeps messages, and handles them in order once it is loaded', () => {
    const journal = aJournal({ isLoading: true })
    const asker = createPlace<QueueSummary>('asker')
    expect(journal.hears(admit(1))).toEqual([])
    expect(journal.hears({ type: 'describeQueue', replyTo: asker })).toEqual([])
    const effects = journal.hears({ type: 'loaded', stored: emptyQueue })
    expect(namesOf(effects)).toEqual(['announce', 'observe', 'show', 'answer'])
    expect(journal.settles()).toMatchObject([
      { do: 'commit', operations: [{ op: 'submit', jobId: jobId(1) }, { op: 'remember' }] },
    ])
  })

  it('lists messages without an answer', () => {
    const journal = aJournal({ isLoading: true })
    journal.hears(admit(1))
    expect(askersOf(journal.state())).toMatchObject([{ replyTo: submitter }])
  })
})

describe('a journal that is open', () => {
  it('writes all changes of a run of messages in one commit, then performs the effects', () => {
    const journal = aJournal()
    expect(journal.hears(admit(1))).toEqual([])
    expect(journal.hears(admit(2))).toEqual([])
    expect(operationsIn(journal.settles())).toEqual(['submit', 'remember', 'submit', 'remember'])
    const effects = journal.hears({ type: 'written', result: committed })
    expect(namesOf(effects)).toEqual([
      ...['observe', 'observe', 'observe', 'show', 'tellChanges'],
      ...['answer', 'logStatus', 'answer', 'logStatus'],
    ])
  })

  it('shows the queue before it answers, so that a client with a 202 finds its job', () => {
    const journal = aJournal()
    journal.hears(admit(1))
    journal.settles()
    const names = namesOf(journal.hears({ type: 'written', result: committed }))
    expect(names.indexOf('show')).toBeLessThan(names.indexOf('answer'))
  })

  it('collects the next batch while one is being written', () => {
    const journal = aJournal()
    journal.hears(admit(1))
    journal.settles()
    journal.hears(admit(2))
    expect(journal.settles()).toEqual([])
    const effects = journal.hears({ type: 'written', result: committed })
    expect(effects.filter((effect) => effect.do === 'answer')).toMatchObject([
      { value: { job: { id: jobId(1) } } },
    ])
    expect(operationsIn(journal.settles())).toEqual(['submit', 'remember'])
  })

  it('performs effects at once when there is nothing to commit', () => {
    const journal = aJournal()
    journal.hears({ type: 'speedsLearned', secondsPerJob: new Map([[gpu0, 3]]) })
    expect(namesOf(journal.settles())).toEqual(['observe', 'show'])
  })

  it('answers questions from the committed state', () => {
    const journal = aJournal()
    const asker = createPlace<QueueSummary>('asker')
    const waiting = () => journal.hears({ type: 'describeQueue', replyTo: asker })
    journal.hears(admit(1))
    expect(waiting()).toMatchObject([{ value: { waiting: 0 } }])
    journal.settles()
    expect(waiting()).toMatchObject([{ value: { waiting: 0 } }])
    journal.hears({ type: 'written', result: committed })
    expect(waiting()).toMatchObject([{ value: { waiting: 1 } }])
  })

  it('describes every GPU, including former ones', () => {
    const journal = aJournal()
    const asker = createPlace<readonly GpuUse[]>('asker')
    expect(journal.hears({ type: 'describeGpus', replyTo: asker })).toMatchObject([
      { do: 'answer', to: asker, value: [{ gpu: gpu0 }, { gpu: gpu1 }] },
    ])
  })

  it.each(['etaReady', 'archiveReady'] as const)('shows itself at %s', (type) => {
    const journal = aJournal()
    expect(journal.hears({ type })).toMatchObject([{ do: 'show', queue: { nextSeq: 1 } }])
  })

  it('throws an unknown error of the store', () => {
    const error = new Error('the database is gone')
    expect(() => aJournal().hears({ type: 'storeFailed', error })).toThrow(error)
  })
})

describe('a full disk', () => {
  it('refuses commands, keeps news, and handles it once there is room', () => {
    const journal = aJournal({ running: [aRunningJob(1)] })
    journal.hears({ type: 'generationEnded', result: { how: 'completed' }, ...attempt(1) })
    journal.hears(admit(2))
    journal.settles()
    journal.hears(cancel(1))
    expect(journal.hears({ type: 'written', result: full })).toMatchObject([
      { do: 'logBlocked' },
      { do: 'answer', to: submitter, value: { code: 'disk_full' } },
      { do: 'answerFailed', to: canceler, cause: full.error },
      { do: 'retryLater' },
    ])
    expect(journal.hears(cancel(1))).toMatchObject([{ do: 'answerFailed', to: canceler }])
    expect(journal.settles()).toEqual([])
    expect(journal.hears({ type: 'retryDue' })).toEqual([])
    expect(operationsIn(journal.settles())).toEqual(['generated'])
    const effects = journal.hears({ type: 'written', result: committed })
    expect(namesOf(effects)).toContain('convert')
  })

  it('removes the reserved name and the image of a refused submission', () => {
    const journal = aJournal()
    const image = { type: 'png', width: 64, height: 64, bytes: 9, sha256: 'x' } as const
    const admitted = { ...admit(1), request: { ...aRequest({ filename: 'fox.mp4' }), image } }
    journal.hears(submit('fox.mp4'))
    journal.settles()
    journal.hears(admitted)
    journal.settles()
    const effects = journal.hears({ type: 'written', result: full })
    expect(effects).toContainEqual({ do: 'discardWork', jobId: jobId(1) })
    journal.hears({ type: 'retryDue' })
    journal.hears(submit('fox.mp4'))
    expect(namesOf(journal.settles())).toContain('prepareSubmission')
  })
})

describe('a store that does not respond', () => {
  const lost = (mayBeStored: boolean) => {
    const error = new DatabaseUnreachableError('PostgreSQL cannot be used', { mayBeStored })
    return { how: 'unreachable', error } as const
  }
  const withImage = () => {
    const image = { type: 'png', width: 64, height: 64, bytes: 9, sha256: 'x' } as const
    return { ...admit(1), request: { ...aRequest(), image } }
  }

  it('refuses commands as on a full disk, and removes their images', () => {
    const journal = aJournal()
    journal.hears(withImage())
    journal.settles()
    const effects = journal.hears({ type: 'written', result: lost(false) })
    expect(effects).toMatchObject([
      { do: 'logBlocked' },
      { do: 'answer', to: submitter, value: { code: 'database_unreachable' } },
      { do: 'discardWork' },
      { do: 'retryLater' },
    ])
    expect(journal.hears({ type: 'retryDue' })).toEqual([])
  })

  it('keeps the image of a job that may be stored, and asks what is stored before it goes on', () => {
    const journal = aJournal({ running: [aRunningJob(2)] })
    journal.hears(withImage())
    journal.settles()
    const effects = journal.hears({ type: 'written', result: lost(true) })
    expect(namesOf(effects)).toEqual(['logBlocked', 'answer', 'retryLater'])
    journal.hears({ type: 'generationEnded', result: { how: 'completed' }, ...attempt(2) })

    expect(journal.hears({ type: 'retryDue' })).toEqual([{ do: 'commit', operations: [] }])
    expect(journal.settles()).toEqual([])
    journal.hears({ type: 'written', result: committed })
    expect(operationsIn(journal.settles())).toEqual(['generated'])
  })

  it('makes the queue load again when the changes in doubt are stored', () => {
    const journal = aJournal()
    journal.hears(admit(1))
    journal.settles()
    journal.hears({ type: 'written', result: lost(true) })
    journal.hears({ type: 'retryDue' })
    const effects = journal.hears({ type: 'written', result: { how: 'stale', why: 'stored' } })
    expect(namesOf(effects)).toEqual(['logStale', 'load'])
  })
})

describe('a stale change', () => {
  it('reloads the queue and refuses the undone commands', () => {
    const journal = aJournal({ running: [aRunningJob(1)] })
    journal.hears(cancel(1))
    journal.hears({ type: 'gpuReady', gpu: gpu0, incarnation: 'gpu-0.1' })
    journal.settles()
    journal.hears(admit(2))
    expect(journal.hears({ type: 'written', result: stale })).toMatchObject([
      { do: 'logStale', why: stale.why },
      { do: 'answerFailed', to: canceler },
      { do: 'answerFailed', to: submitter },
      { do: 'load' },
    ])
    expect(journal.hears(admit(3))).toEqual([])
    const effects = journal.hears({ type: 'loaded', stored: emptyQueue })
    expect(namesOf(effects)).toEqual(['announce', 'observe', 'show'])
    expect(operationsIn(journal.settles())).toEqual(['submit', 'remember'])
  })

  it('fails open cancels, and never gives a ticket number twice', () => {
    const journal = aJournal({ running: [aRunningJob(1)] })
    const running = { ...emptyQueue, running: [aRunningJob(1)] }
    journal.hears(cancel(1))
    journal.settles()
    journal.hears({ type: 'written', result: committed })
    journal.hears(admit(2))
    journal.settles()
    const effects = journal.hears({ type: 'written', result: stale })
    expect(effects).toContainEqual(expect.objectContaining({ do: 'answerFailed', to: canceler }))
    journal.hears({ type: 'loaded', stored: running })
    journal.hears(cancel(1))
    journal.settles()
    expect(journal.hears({ type: 'written', result: committed })).toContainEqual(
      expect.objectContaining({ do: 'expectCancel', ticket: 2 }),
    )
  })

  it('keeps a closing queue closed, and answers the close later', () => {
    const closer = createPlace<'closed'>('closer')
    const journal = aJournal({ running: [aRunningJob(1)] })
    const running = { ...emptyQueue, running: [aRunningJob(1)] }
    journal.hears({ type: 'close', mode: 'drain', replyTo: closer })
    journal.settles()
    journal.hears(cancel(1))
    journal.settles()
    journal.hears({ type: 'written', result: stale })
    journal.hears({ type: 'loaded', stored: running })
    expect(namesOf(journal.settles())).not.toContain('answer')
    journal.hears({ type: 'generationEnded', result: { how: 'lost' }, ...attempt(1) })
    journal.settles()
    expect(journal.hears({ type: 'written', result: committed })).toContainEqual(
      answer(closer, 'closed'),
    )
  })

  it('fails a submission whose reserved name is lost', () => {
    const journal = aJournal()
    journal.hears(submit('fox.mp4'))
    journal.settles()
    journal.hears(admit(2))
    journal.settles()
    journal.hears({ type: 'written', result: stale })
    journal.hears({ type: 'loaded', stored: emptyQueue })
    journal.hears({ ...admit(1), request: aRequest({ filename: 'fox.mp4' }) })
    expect(journal.settles()).toContainEqual(
      expect.objectContaining({ do: 'answerFailed', to: submitter }),
    )
  })
})

const attempt = (n: number) => ({ jobId: jobId(n), epoch: 1 })

const admit = (n: number) =>
  ({
    type: 'admit',
    jobId: jobId(n),
    request: aRequest(),
    client: anybody,
    ...sentOnce(n),
    nameTaken: false,
    replyTo: submitter,
  }) as const

const submit = (filename: string): QueueMail => {
  const { repetition } = sentOnce(0)
  const draft = aRequest({ filename })
  return { type: 'submit', draft, client: anybody, repetition, replyTo: submitter }
}

const cancel = (n: number): QueueMail => ({
  type: 'cancel',
  selection: { ids: [jobId(n)] },
  scope: 'everything',
  replyTo: canceler,
})

const namesOf = (effects: readonly JournalEffect[]) => effects.map((effect) => effect.do)

const operationsIn = (effects: readonly JournalEffect[]) =>
  effects.flatMap((effect) => (effect.do === 'commit' ? effect.operations.map(({ op }) => op) : []))

/** The journal with its state kept; each word answers with the effects. */
function aJournal({
  isLoading = false,
  ...stored
}: Partial<StoredQueue> & { isLoading?: boolean } = {}) {
  const { receive, settle } = createJournal({ settings: queueSettings })
  let [journal]: readonly [Journal, unknown] = newJournal
  function take([next, effects]: readonly [Journal, readonly JournalEffect[]]) {
    journal = next
    return effects
  }
  const hears = (mail: QueueMail) => take(receive(journal, mail, midnight))
  if (!isLoading) hears({ type: 'loaded', stored: { ...emptyQueue, ...stored } })
  return { hears, settles: () => take(settle(journal)), state: () => journal }
}
