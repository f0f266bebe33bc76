/**
 * A world of named videos: the rules of queue and archive, the real store, and a disk of which only
 * names are kept. Each read, write and removal is carried out when the story says so, also after the
 * actor that asked for it has crashed. The world watches itself: what must never happen throws.
 */
import { strict as assert } from 'node:assert'
import type { Selectable } from 'kysely'
import { type ActorRef, fail, refOf, tell, tellAskerItFailed } from '../../src/actors/actor.ts'
import type { ArchiveEffect } from '../../src/actors/archive/archive-effects.ts'
import type { FileFinding, VideoFiles } from '../../src/actors/archive/archive-ports.ts'
import type {
  ArchiveCommand,
  ArchiveMail,
  DeletedVideo,
  DeletionAnswer,
  ExpireAnswer,
  PinAnswer,
  RemoveAnswer,
} from '../../src/actors/archive/archive-protocol.ts'
import {
  type ArchiveState,
  askersOf as askersOfArchive,
} from '../../src/actors/archive/archive-state.ts'
import { firstTurn, transition } from '../../src/actors/archive/archive-transition.ts'
import { createArchiveWork } from '../../src/actors/archive/archive-work.ts'
import { size } from '../../src/actors/ordered-map.ts'
import {
  askersOf,
  type Journal,
  type JournalEffect,
  newJournal,
  type QueueMail,
} from '../../src/actors/queue/journal/journal-state.ts'
import { createJournal } from '../../src/actors/queue/journal/queue-journal.ts'
import type { CommitResult, QueueStore } from '../../src/actors/queue/queue-ports.ts'
import type { CancelAnswer, SubmitAnswer } from '../../src/actors/queue/queue-protocol.ts'
import { createSubmissionWork } from '../../src/actors/queue/submission-work.ts'
import { DiskFullError, RefusalError } from '../../src/domain/errors.ts'
import { nameKey } from '../../src/domain/filename.ts'
import type { AttemptKey, JobId } from '../../src/domain/job.ts'
import type { JobStore } from '../../src/infra/store/job-store.ts'
import { migrateToLatest } from '../../src/infra/store/migrate.ts'
import type { Database } from '../../src/infra/store/schema.ts'
import { openDatabase } from '../../src/infra/store/sqlite/database.ts'
import { createJobStore } from '../../src/infra/store/sqlite/sqlite-job-store.ts'
import type { StoreOperation } from '../../src/infra/store/store-operations.ts'
import { anybody, aRequest, aVideo, gpu0, gpu1, gpu2, queueSettings } from './jobs.ts'

/** Parts that a test may replace by broken ones. */
export type Parts = Readonly<{
  /** The store as the archive's work with files sees it. */
  archiveStore?(store: JobStore): JobStore
  queueStore?(store: QueueStore): QueueStore
  videoFiles?(files: VideoFiles): VideoFiles
}>

/** A file that somebody has put there without the service. */
const foreign = 'somebody'

const gpus = [gpu0, gpu1, gpu2]
const maxRounds = 10_000

export type World = Awaited<ReturnType<typeof createWorld>>

export async function createWorld({
  archiveStore = (store) => store,
  queueStore = (store) => store,
  videoFiles = (files) => files,
}: Parts = {}) {
  const { db, close } = openDatabase(':memory:')
  await migrateToLatest(db)
  const real = createJobStore(db)
  /** Whose file it is. */
  const files = new Map<string, JobId | typeof foreign>()
  /** Somebody has removed or replaced their files, whether or not their records say so. */
  const disturbed = new Set<JobId>()
  const placed = new Set<string>()
  /** Calls that have been made and not been carried out: of the store in this order, of files in any. */
  const storeCalls: (() => Promise<void>)[] = []
  const fileCalls: (() => Promise<void>)[] = []
  const timers: (() => void)[] = []
  let nextCommit: CommitResult | undefined

  const later = <T>(calls: (() => Promise<void>)[], act: () => T | Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      calls.push(async () => {
        try {
          resolve(await act())
        } catch (error) {
          reject(error)
        }
        await calm()
      })
    })

  /** All that follows at once from a result has followed. */
  const calm = () => new Promise(setImmediate)

  const store: JobStore = {
    ...real,
    load: (since) => later(storeCalls, () => real.load(since)),
    find: (jobId, scope) => later(storeCalls, () => real.find(jobId, scope)),
    findExpired: (which, scope) => later(storeCalls, () => real.findExpired(which, scope)),
    findSubmission: (identity, since) =>
      later(storeCalls, () => real.findSubmission(identity, since)),
    isNamePromised: (filename) => later(storeCalls, () => real.isNamePromised(filename)),
    isAwaited: (jobId) => later(storeCalls, () => real.isAwaited(jobId)),
    videosToDelete: (selection, scope) =>
      later(storeCalls, () => real.videosToDelete(selection, scope)),
    announcedRemovals: () => later(storeCalls, () => real.announcedRemovals()),
    recordedFiles: (after, limit) => later(storeCalls, () => real.recordedFiles(after, limit)),
    commit: (operations) => later(storeCalls, () => commit(operations)),
  }

  const failures: unknown[] = []
  const noteFailure = (error: unknown) => void failures.push(error)

  async function commit(operations: readonly StoreOperation[]): Promise<CommitResult> {
    const result = nextCommit ?? (await real.commit(operations))
    nextCommit = undefined
    if (result.how !== 'full') return result
    // A full disk is no reason to keep files: a deletion is what makes room.
    for (const one of operations) if (one.op === 'announceRemoval') disturbed.add(one.jobId)
    return result
  }

  const isTaken = (filename: string) =>
    [...files.keys()].some((name) => nameKey(name) === nameKey(filename))
  const results = { exists: (filename: string) => later(fileCalls, () => isTaken(filename)) }

  const findingOf = ({ jobId, filename }: DeletedVideo): FileFinding => {
    const owner = files.get(filename)
    if (owner === undefined) return 'missing'
    return owner === jobId ? 'own' : 'other'
  }
  const archivePorts = {
    store: archiveStore(store),
    videoFiles: videoFiles({
      isInUse: () => false,
      find: (video) => later(fileCalls, () => findingOf(video)),
      // A file of another origin has another length.
      arePresent: (asked) =>
        later(fileCalls, () =>
          asked.map(({ filename }) => ![undefined, foreign].includes(files.get(filename))),
        ),
      remove: (video) =>
        later(fileCalls, () => {
          const finding = findingOf(video)
          if (finding === 'own') files.delete(video.filename)
          return finding
        }),
    }),
    jobFiles: { forget: () => later(fileCalls, () => {}) },
  }
  let work = createArchiveWork(archivePorts)
  const submissions = createSubmissionWork({
    store: queueStore(store),
    results,
    workFiles: { keepImage: async () => {} },
  })

  // --- the queue ------------------------------------------------------------------------------

  const rules = createJournal({ settings: { ...queueSettings, gpus } })
  let journal: Journal
  let queueMail: QueueMail[] = []
  let queueLife = 0
  /** Attempts at work, and those that wait for their conversion. */
  const generating = new Map<JobId, AttemptKey>()
  const converting = new Map<JobId, AttemptKey & { filename: string }>()
  let now = Date.now()

  function startQueue(): void {
    queueLife += 1
    queueMail = []
    const [first, effects] = newJournal
    journal = first
    performAll(effects)
  }

  /** News from outside and results of its own reads; a former incarnation's reach nobody. */
  const tellQueue = (mail: QueueMail, life = queueLife): void => {
    if (life === queueLife) queueMail.push(mail)
  }

  function performAll(effects: readonly JournalEffect[]): void {
    for (const effect of effects) performForQueue(effect)
  }

  function performForQueue(effect: JournalEffect): void {
    const life = queueLife
    switch (effect.do) {
      case 'load':
        void store.load(0).then((stored) => tellQueue({ type: 'loaded', stored }, life))
        break
      case 'commit':
        void store
          .commit(effect.operations)
          .then((result) => tellQueue({ type: 'written', result }, life), noteFailure)
        break
      case 'retryLater':
        timers.push(() => tellQueue({ type: 'retryDue' }, life))
        break
      case 'announce':
        for (const gpu of gpus) {
          tellQueue({ type: 'gpuReady', gpu, incarnation: `gpu-${gpu}.${queueLife}` })
        }
        tellQueue({ type: 'conversionReady' })
        break
      case 'show':
        tellArchive({ type: 'queueChanged', queue: effect.queue })
        break
      case 'prepareSubmission': {
        const { replyTo, draft } = effect
        void submissions.prepare(effect).then(
          (prepared) => tellQueue({ type: 'admit', ...prepared, replyTo }, life),
          (error: unknown) =>
            tellQueue(
              { type: 'preparationFailed', filename: draft.filename, error, replyTo },
              life,
            ),
        )
        break
      }
      case 'startGeneration':
      case 'adoptGeneration':
        generating.set(effect.jobId, effect)
        break
      case 'stopGeneration':
        tellQueue({ type: 'generationEnded', ...keyIn(effect), result: { how: 'lost' } })
        break
      case 'convert':
        converting.set(effect.jobId, effect)
        break
      case 'abortConversion':
        converting.delete(effect.jobId)
        if (files.get(effect.filename) === effect.jobId) files.delete(effect.filename)
        tellQueue({ type: 'conversionAborted', ...keyIn(effect) })
        break
      case 'answer':
        tell(effect.to as ActorRef<unknown>, effect.value)
        break
      case 'answerFailed':
        tellAskerItFailed({ replyTo: effect.to }, effect.why)
        break
    }
  }

  // --- the archive ----------------------------------------------------------------------------

  let archive: ArchiveState
  let archiveMail: ArchiveMail[] = []
  let archiveLife = 0
  let life = new AbortController()

  function startArchive(): void {
    archiveLife += 1
    archiveMail = []
    life = new AbortController()
    archive = firstTurn[0]
    performForArchive(firstTurn[1])
  }

  const tellArchive = (mail: ArchiveMail, life = archiveLife): void => {
    if (life === archiveLife) archiveMail.push(mail)
  }

  function handleInArchive(mail: ArchiveMail): void {
    const [next, effects] = transition(archive, mail, now)
    archive = next
    performForArchive(effects)
  }

  function performForArchive(effects: readonly ArchiveEffect[]): void {
    const own = archiveLife
    for (const effect of effects) {
      switch (effect.do) {
        case 'announce':
          tellQueue({ type: 'archiveReady' })
          break
        case 'readRemovals':
          void work
            .announcedRemovals()
            .then((removals) => tellArchive({ type: 'removalsRead', removals }, own))
          break
        case 'survey':
          void work
            .survey(effect.afterSeq)
            .then((page) => tellArchive({ type: 'surveyed', ...page }, own))
          break
        case 'selectVideos': {
          const { command } = effect
          void store.videosToDelete(command.selection, command.scope).then((jobs) => {
            const jobIds = jobs.map(({ id }) => id)
            tellArchive({ type: 'videosSelected', command, jobIds }, own)
          })
          break
        }
        case 'work':
          void work
            .carryOut(effect.tasks, now, life.signal)
            .then((outcomes) => tellArchive({ type: 'worked', outcomes }, own))
          break
        case 'commit':
          void work
            .commit(effect.operations)
            .then((result) => tellArchive({ type: 'written', result }, own), noteFailure)
          break
        case 'retryLater':
          timers.push(() => tellArchive({ type: 'retryDue' }, own))
          break
        case 'answerPinned':
          tell(effect.replyTo, new RefusalError('job_not_found', 'not looked at'))
          break
        case 'answer':
          tell(effect.to as ActorRef<unknown>, effect.value)
          break
        case 'answerFailed':
          tellAskerItFailed({ replyTo: effect.to }, effect.why)
          break
      }
    }
  }

  // --- what must be so ------------------------------------------------------------------------

  /** All that follows without a read, a write or a removal. */
  function handleMail(): void {
    while (queueMail.length > 0 || archiveMail.length > 0) {
      now += 1
      for (let mail = archiveMail.shift(); mail; mail = archiveMail.shift()) handleInArchive(mail)
      for (let mail = queueMail.shift(); mail; mail = queueMail.shift()) {
        const [next, effects] = rules.receive(journal, mail, now)
        journal = next
        performAll(effects)
      }
      const [settled, effects] = rules.settle(journal)
      journal = settled
      performAll(effects)
    }
  }

  const isPresent = ({ status, file_deleted_at }: Row): boolean =>
    status === 'success' && file_deleted_at === null
  const isOpen = ({ status }: Row): boolean => status === 'queued' || status === 'running'

  async function check(): Promise<void> {
    await calm()
    if (failures.length > 0) throw failures[0]
    const rows = await db.selectFrom('job').selectAll().execute()
    const present = rows.filter(isPresent)
    const names = present.map(({ filename }) => filename)
    assert.equal(new Set(names).size, names.length, 'no two videos have one name')
    const asked = rows
      .filter(isOpen)
      .flatMap(({ requested_filename: name }) => (name === null ? [] : [name]))
    assert.equal(new Set(asked.map(nameKey)).size, asked.length, 'no name is promised twice')
    const keys = new Set(names.map((name) => nameKey(name ?? '')))
    for (const name of asked) assert(!keys.has(nameKey(name)), `${name} is promised and there`)
    for (const { id, filename, removing } of present) {
      const isThere = filename !== null && files.get(filename) === id
      assert(isThere || removing !== null || disturbed.has(id), `the file of ${id} is there`)
    }
    for (const { pinned_at, expired_at } of rows) {
      assert(pinned_at === null || expired_at === null, 'what is pinned does not expire')
    }
  }

  /** Nothing is under way, and all files have been looked at. */
  async function checkFiles(): Promise<void> {
    const rows = await db.selectFrom('job').selectAll().execute()
    for (const { id, filename, removing } of rows.filter(isPresent)) {
      assert.equal(removing, null, `no removal of ${id} is left`)
      assert.equal(filename !== null && files.get(filename), id, `the file of ${id} is there`)
    }
    const holders = new Set(rows.filter((row) => isPresent(row) || isOpen(row)).map(({ id }) => id))
    for (const [name, owner] of files) {
      assert(owner === foreign || holders.has(owner), `${name} belongs to a job`)
    }
    for (const name of placed) assert.equal(files.get(name), foreign, `${name} is not touched`)
  }

  // --- what may happen ------------------------------------------------------------------------

  /** Names of those who wait for an answer. */
  const asks = new Map<number, string>()
  let asked = 0

  function anAsker<Reply>(name: string): ActorRef<Reply> {
    const number = asked++
    asks.set(number, name)
    return { ...refOf<Reply>(name, () => asks.delete(number)), [fail]: () => asks.delete(number) }
  }

  async function pickJob(which: number): Promise<JobId | undefined> {
    const rows = await db.selectFrom('job').select('id').orderBy('seq').execute()
    return rows[which % rows.length]?.id
  }

  async function command(make: (jobId: JobId) => ArchiveCommand, which: number): Promise<void> {
    const jobId = await pickJob(which)
    if (jobId) tellArchive(make(jobId))
  }

  const scope = 'everything'

  const may = {
    submit(filename: string | undefined) {
      const replyTo = anAsker<SubmitAnswer>('submitter')
      const draft = aRequest(filename === undefined ? {} : { filename })
      const repetition = { isRetry: false }
      tellQueue({ type: 'submit', draft, client: anybody, repetition, replyTo })
    },

    endGeneration(which: number) {
      const attempt = [...generating.values()][which % generating.size]
      if (!attempt) return
      generating.delete(attempt.jobId)
      tellQueue({ type: 'generationEnded', ...keyIn(attempt), result: { how: 'completed' } })
    },

    endConversion(which: number) {
      const conversion = [...converting.values()][which % converting.size]
      if (!conversion) return
      const { jobId, filename } = conversion
      converting.delete(jobId)
      const owner = files.get(filename)
      if (owner === foreign) {
        const failure = { code: 'conversion_failed', message: 'the name is taken' } as const
        tellQueue({ type: 'conversionFailed', ...keyIn(conversion), failure })
        return
      }
      assert(owner === undefined || owner === jobId, `${filename} replaces another job's file`)
      files.set(filename, jobId)
      tellQueue({ type: 'converted', ...keyIn(conversion), video: aVideo() })
    },

    cancel: async (which: number) => {
      const jobId = await pickJob(which)
      if (!jobId) return
      const replyTo = anAsker<CancelAnswer>('canceler')
      tellQueue({ type: 'cancel', selection: { ids: [jobId] }, scope, replyTo })
    },

    remove: (which: number) =>
      command(
        (jobId) => ({ type: 'remove', jobId, scope, replyTo: anAsker<RemoveAnswer>('remover') }),
        which,
      ),

    pin: (which: number, pinned: boolean) =>
      command(
        (jobId) => ({ type: 'pin', jobId, pinned, scope, replyTo: anAsker<PinAnswer>('pinner') }),
        which,
      ),

    expire: (which: number) =>
      command(
        (jobId) => ({ type: 'expire', jobIds: [jobId], replyTo: anAsker<ExpireAnswer>('janitor') }),
        which,
      ),

    deleteVideo: (filename: string) =>
      tellArchive({
        type: 'deleteVideos',
        selection: { filenames: [filename] },
        scope,
        replyTo: anAsker<DeletionAnswer>('deleter'),
      }),

    deleteAllVideos: () =>
      tellArchive({
        type: 'deleteVideos',
        selection: { status: ['success'] },
        scope,
        replyTo: anAsker<DeletionAnswer>('deleter of all'),
      }),

    useStore: async (times: number) => {
      for (let n = 0; n < times; n++) {
        await storeCalls.shift()?.()
        handleMail()
      }
    },

    useFile: async (which: number) => {
      const [call] = fileCalls.splice(which % Math.max(1, fileCalls.length), 1)
      await call?.()
    },

    ring: () => timers.shift()?.(),

    fillDisk() {
      nextCommit = { how: 'full', error: new DiskFullError('the disk is full') }
    },

    /** As if somebody else had changed the record: nothing of it is written. */
    refuseCommit() {
      nextCommit = { how: 'stale', why: 'the story says so' }
    },

    loseFile(which: number) {
      const [name, owner] = [...files][which % files.size] ?? []
      if (name === undefined || owner === undefined || owner === foreign) return
      files.delete(name)
      disturbed.add(owner)
    },

    replaceFile(which: number) {
      const [name, owner] = [...files][which % files.size] ?? []
      if (name === undefined || owner === undefined || owner === foreign) return
      files.set(name, foreign)
      placed.add(name)
      disturbed.add(owner)
    },

    compare: (which: number) =>
      command((jobId) => ({ type: 'compareFiles', jobIds: [jobId] }), which),

    kill,

    crashQueue() {
      for (const asker of askersOf(journal)) tellAskerItFailed(asker, 'crashed')
      asks.clear()
      startQueue()
    },

    crashArchive() {
      life.abort()
      for (const asker of askersOfArchive(archive)) tellAskerItFailed(asker, 'crashed')
      asks.clear()
      startArchive()
    },
  }

  /** `kill -9` of the service: what is not on disk is gone, and nobody gets an answer. */
  function kill(): void {
    life.abort()
    for (const calls of [storeCalls, fileCalls, timers]) calls.length = 0
    for (const map of [asks, generating, converting]) map.clear()
    work = createArchiveWork(archivePorts)
    startQueue()
    startArchive()
  }

  async function settle(): Promise<void> {
    nextCommit = undefined
    for (let round = 0; isBusy(); round++) {
      assert(round < maxRounds, 'everything comes to its end')
      timers.shift()?.()
      await storeCalls.shift()?.()
      await fileCalls.shift()?.()
      handleMail()
      await check()
    }
  }

  startQueue()
  startArchive()
  handleMail()

  return {
    close,
    async let(happen: (may: Happenings) => unknown): Promise<void> {
      await happen(may)
      handleMail()
      await check()
    },

    /** Everything that was asked for comes to its end, and nothing is left reserved. */
    async settle(): Promise<void> {
      await settle()
      assert(journal.phase === 'open' && !journal.inFlight && !journal.turns)
      assert.equal(size(journal.committed.reserved), 0, 'no name stays reserved')
      assert(!archive.step && size(archive.requests) === 0, 'no request is left')
      const waiting = [...asks.values()].filter((name) => name !== 'canceler')
      assert.deepEqual(waiting, [], 'everybody has got an answer')
      kill()
      handleMail()
      await settle()
      await checkFiles()
    },
  }

  type Happenings = typeof may

  function isBusy(): boolean {
    const calls = storeCalls.length + fileCalls.length + timers.length
    return calls + queueMail.length + archiveMail.length > 0
  }
}

type Row = Selectable<Database['job']>

const keyIn = ({ jobId, epoch }: AttemptKey): AttemptKey => ({ jobId, epoch })
