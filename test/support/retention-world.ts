/**
 * A world in which jobs expire: the rules of janitor and archive, the real store, a disk of which only
 * names are kept, clients who pin and download, a clock that is set, and crashes between any two files.
 * It watches itself: what must not go throws as soon as it does.
 */
import { strict as assert } from 'node:assert'
import { type ActorRef, createPlace, refOf, tell } from '../../src/actors/actor.ts'
import type { ArchiveOperation } from '../../src/actors/archive/archive-ports.ts'
import type {
  ArchiveMail,
  ExpireAnswer,
  PinAnswer,
} from '../../src/actors/archive/archive-protocol.ts'
import { type ArchiveState, newArchive } from '../../src/actors/archive/archive-state.ts'
import { transition } from '../../src/actors/archive/archive-transition.ts'
import { createArchiveWork } from '../../src/actors/archive/archive-work.ts'
import type { FinishedStatus } from '../../src/actors/janitor/janitor-ports.ts'
import type {
  PurgeAnswer,
  PurgeWish,
  RetentionEffect,
  RetentionMessage,
} from '../../src/actors/janitor/retention-protocol.ts'
import type { RetentionLimits } from '../../src/actors/janitor/retention-rules.ts'
import { initialRetentionState, retain } from '../../src/actors/janitor/retention-transition.ts'
import type { Outcome, QueueOperation } from '../../src/actors/queue/queue-ports.ts'
import { restoreQueue } from '../../src/actors/queue/queue-restore.ts'
import { RefusalError } from '../../src/domain/errors.ts'
import type { JobId, JobStatus } from '../../src/domain/job.ts'
import type { VideoFile } from '../../src/domain/video-file.ts'
import { newSecret, newWebhookId } from '../../src/domain/webhook.ts'
import { aFailure, aRequest, aVideo, gpuId, jobId, midnight, queueSettings } from './jobs.ts'
import { createSqliteStores } from './store/sqlite-stores.ts'

/** What the world knows of a job by itself, whatever the store says. */
type Known = {
  jobId: JobId
  filename: string
  status: JobStatus
  endedAt: number
  bytes: number
  pinned: boolean
  /** Has a webhook that has not been told yet. */
  awaited: boolean
  downloading: boolean
  gone: boolean
  goneAt: number
}

const hour = 60 * 60_000

export type World = Awaited<ReturnType<typeof createWorld>>

export async function createWorld(limits: RetentionLimits) {
  const { db, jobs: store, retention, close } = await createSqliteStores()
  const jobs: Known[] = []
  const files = new Set<string>()
  const now = { at: midnight, uptimeMs: 1_000 }
  /** When this life of the service may believe the clock again. */
  let heldUntil = 0
  let looked = false
  const queue = restoreQueue(queueSettings, await store.load(0))
  let archive: ArchiveState = { ...newArchive, queue, isRecovered: true }
  let janitor = initialRetentionState
  /** Lives that have ended do nothing any more. */
  let life = 0
  let filesUntilCrash = Number.POSITIVE_INFINITY
  /** Whose files are being removed: who begins to read them now has opened them, or comes too late. */
  let leaving: JobId | undefined
  /** While some are about to go, what clients wish is about one of those. */
  let inSight: readonly JobId[] = []
  /** What comes in between: once a page has been read, or when the next files are removed. */
  let afterPage: (() => Promise<void>)[] = []
  let meanwhile: (() => Promise<void>)[] = []
  let onCrash: () => void = () => {}

  const known = (id: JobId): Known => {
    const job = jobs.find((one) => one.jobId === id)
    assert(job)
    return job
  }
  const isOver = ({ status }: Known) => status !== 'queued' && status !== 'running'
  const isFree = (job: Known) =>
    isOver(job) && !job.gone && !job.pinned && !job.awaited && !job.downloading

  // --- the disk -------------------------------------------------------------------------------

  /** A crash leaves what was not removed yet, and nobody hears of the end of it. */
  async function removeFile(jobId: JobId, name: string): Promise<void> {
    const ownLife = life
    leaving = jobId
    for (const act of meanwhile.splice(0)) await act()
    const job = known(jobId)
    assert(isFree(job) || job.gone, `nothing of ${JSON.stringify(job)} is removed`)
    filesUntilCrash -= 1
    if (filesUntilCrash < 0 || ownLife !== life) {
      onCrash()
      return new Promise(() => {})
    }
    files.delete(name)
    leaving = undefined
  }

  const findingOf = (filename: string) => (files.has(filename) ? 'own' : 'missing')

  const ports = {
    store,
    videoFiles: {
      isInUse: (filename: string) =>
        jobs.some((job) => job.filename === filename && job.downloading),
      find: async ({ filename }: VideoFile) => findingOf(filename),
      arePresent: async (asked: readonly unknown[]) => asked.map(() => true),
      async remove({ jobId, filename }: VideoFile) {
        const finding = findingOf(filename)
        await removeFile(jobId, filename)
        return finding
      },
    },
    jobFiles: { forget: (jobId: JobId) => removeFile(jobId, logOf(jobId)) },
  }
  /** A crash of the service takes with it what it was at. */
  let work = createArchiveWork(ports)

  // --- the archive, as its shell does it: on disk first, and only then ---------------------------

  const mail: ArchiveMail[] = []
  let isBusy = false

  /** Until nothing is left to do, unless somebody is at it already: then by that one. */
  async function tellArchive(message: ArchiveMail): Promise<void> {
    mail.push(message)
    if (isBusy) return
    isBusy = true
    const ownLife = life
    for (let next = mail.shift(); next; next = mail.shift()) {
      const [state, effects] = transition(archive, next, now.at)
      archive = state
      for (const effect of effects) {
        switch (effect.do) {
          case 'work': {
            const outcomes = await work.carryOut(effect.tasks, now.at, new AbortController().signal)
            if (ownLife !== life) return
            for (const outcome of outcomes) if (outcome.how === 'failed') throw outcome.error
            mail.unshift({ type: 'worked', outcomes })
            break
          }
          case 'commit': {
            mail.unshift({ type: 'written', result: await store.commit(effect.operations) })
            for (const operation of effect.operations) note(operation)
            break
          }
          case 'answerPinned': {
            const job = await work.find(effect.jobId, effect.scope)
            tell(effect.replyTo, job instanceof RefusalError ? job : { job })
            break
          }
          case 'answer':
            tell(effect.to as ActorRef<unknown>, effect.value)
            break
          case 'answerFailed':
            throw effect.cause
        }
      }
    }
    isBusy = false
  }

  function note(operation: ArchiveOperation): void {
    if (operation.op === 'pin') known(operation.jobId).pinned = operation.pinned
    if (operation.op === 'forgetVideo') known(operation.jobId).bytes = 0
    if (operation.op !== 'expire') return
    const job = known(operation.jobId)
    assert(isFree(job), `${JSON.stringify(job)} does not expire`)
    assert(!files.has(job.filename) && !files.has(logOf(job.jobId)), 'files go before the record')
    job.gone = true
    job.goneAt = now.at
  }

  // --- the janitor ----------------------------------------------------------------------------

  /** To its end, or to a crash. */
  async function tellJanitor(
    message: RetentionMessage,
  ): Promise<PurgeAnswer | 'crashed' | undefined> {
    const crash = new Promise<'crashed'>((resolve) => {
      onCrash = () => resolve('crashed')
    })
    let answer: PurgeAnswer | undefined
    const mail: RetentionMessage[] = [message]
    for (let next = mail.shift(); next; next = mail.shift()) {
      const [state, effects] = retain(limits, janitor, next, { ...now })
      janitor = state
      for (const effect of effects) {
        const news = await Promise.race([perform(effect), crash])
        if (news === 'crashed') return restart()
        if (news && 'jobs' in news && 'complete' in news) answer = news
        else if (news) mail.push(news)
      }
    }
    return answer
  }

  /** They are nobody's any more. */
  const forgotten = new Set<JobId>()

  async function perform(
    effect: RetentionEffect,
  ): Promise<RetentionMessage | PurgeAnswer | undefined> {
    switch (effect.do) {
      case 'readLatestEnd':
        return { type: 'latestEndRead', latestEnd: await retention.latestEnd() }
      case 'weigh':
        return { type: 'weighed', bytes: await retention.videoBytes([]) }
      case 'readPage':
        return { type: 'pageRead', jobs: await retention.finished(effect.filter) }
      case 'expire': {
        const { jobIds } = effect
        inSight = jobIds
        for (const act of afterPage.splice(0)) await act()
        let answer: ExpireAnswer | undefined
        const replyTo = refOf<ExpireAnswer>('janitor', (told) => {
          answer = told
          return true
        })
        await tellArchive({ type: 'expire', jobIds, replyTo })
        inSight = []
        assert(answer && answer.error === undefined)
        return { type: 'expired', ...answer }
      }
      case 'answer':
        return effect.value as PurgeAnswer
      case 'forgetTombstones':
        for (const job of jobs) if (job.gone && job.goneAt < effect.before) forgotten.add(job.jobId)
        await tellArchive({ type: 'forgetTombstones', before: effect.before })
        return undefined
      default:
        return undefined
    }
  }

  async function restart(): Promise<'crashed'> {
    life += 1
    filesUntilCrash = Number.POSITIVE_INFINITY
    inSight = []
    afterPage = []
    meanwhile = []
    leaving = undefined
    mail.length = 0
    isBusy = false
    for (const job of jobs) job.downloading = false
    now.uptimeMs = 1_000
    heldUntil = 0
    looked = false
    janitor = initialRetentionState
    archive = { ...newArchive, queue }
    work = createArchiveWork(ports)
    await tellArchive({ type: 'removalsRead', removals: await work.announcedRemovals() })
    return 'crashed'
  }

  // --- what has to be so, said as plainly as possible ---------------------------------------------

  /** Which jobs a sweep takes that nothing comes between; with `isOver`, which ones it might take else. */
  function dueNow(isMeant = isFree): Set<JobId> {
    const latest = Math.max(
      ...jobs
        .filter((job) => isOver(job) && !job.gone && !job.pinned)
        .map(({ endedAt }) => endedAt),
    )
    const byAge = now.at - limits.retentionMs
    if (!looked && limits.retentionMs > 0 && latest > 0 && latest < byAge)
      heldUntil = now.uptimeMs + 24 * hour
    looked = true
    const isBelieved = now.uptimeMs >= heldUntil
    const due = new Set<JobId>()
    if (limits.retentionMs > 0 && isBelieved) {
      for (const job of jobs) if (isMeant(job) && job.endedAt < byAge) due.add(job.jobId)
    }
    if (limits.maxResultBytes > 0) addOldest(due, limits.maxResultBytes)
    return due
  }

  function duePurge({ olderThanMs, status, maxBytes }: PurgeWish): Set<JobId> {
    const isMeant = (job: Known) =>
      isFree(job) &&
      (olderThanMs === undefined || job.endedAt < now.at - olderThanMs) &&
      (status === undefined || status.includes(job.status as FinishedStatus))
    const due = new Set<JobId>()
    if (maxBytes !== undefined) addOldest(due, maxBytes, isMeant)
    else for (const job of jobs) if (isMeant(job)) due.add(job.jobId)
    return due
  }

  function addOldest(due: Set<JobId>, maxBytes: number, isMeant = isFree): void {
    const present = jobs.filter((job) => job.bytes > 0 && !job.gone && !due.has(job.jobId))
    let left = present.reduce((sum, { bytes }) => sum + bytes, 0)
    const oldestFirst = present.filter(isMeant).toSorted((a, b) => a.endedAt - b.endedAt)
    for (const { jobId, bytes } of oldestFirst) {
      if (left <= maxBytes) break
      due.add(jobId)
      left -= bytes
    }
  }

  async function checkAll(): Promise<void> {
    for (const job of jobs) {
      const record = await store.find(job.jobId, 'everything')
      const expired = await store.findExpired({ jobId: job.jobId }, 'everything')
      assert.equal(record === undefined, job.gone, `the record of ${JSON.stringify(job)}`)
      const isTold = job.gone && !forgotten.has(job.jobId)
      assert.equal(expired !== undefined, isTold, 'for a while it is told when')
      if (record) assert.equal(record.pinnedAt !== undefined, job.pinned)
      // A crash may have left a record without its files, but never files without a record.
      if (job.gone) assert(!files.has(job.filename) && !files.has(logOf(job.jobId)))
      if (!isFree(job) && !job.gone && job.bytes > 0 && !touched.has(job.jobId))
        assert(files.has(job.filename), `the file of ${JSON.stringify(job)} is there`)
    }
  }

  /** Their files may be gone already: they were due when a crash came. */
  const touched = new Set<JobId>()

  /** Answered at once, or when the jobs that are just being removed are. */
  async function pin(jobId: JobId, pinned: boolean): Promise<void> {
    const replyTo = refOf<PinAnswer>('client', (answer) => {
      if (answer instanceof RefusalError) {
        assert.equal(answer.code, forgotten.has(jobId) ? 'job_not_found' : 'job_expired')
        assert(known(jobId).gone, 'only what is gone cannot be pinned')
      } else assert.equal(answer.job.pinnedAt !== undefined, pinned)
      return true
    })
    await tellArchive({ type: 'pin', jobId, pinned, scope: 'everything', replyTo })
  }

  // --- what may happen ------------------------------------------------------------------------

  const pick = (which: number): Known | undefined => {
    const one = inSight[which % inSight.length]
    return one ? known(one) : jobs[which % jobs.length]
  }

  const may = {
    async add(status: JobStatus, { bytes, awaited }: { bytes: number; awaited: boolean }) {
      const n = jobs.length + 1
      const [id, at] = [jobId(n), now.at]
      const filename = `video-${n}.mp4`
      const secret = newSecret()
      const webhook = { id: newWebhookId(), owner: null, registeredBy: [], jobId: id }
      const toTell = awaited && {
        webhook: {
          ...webhook,
          url: 'https://a.example',
          events: ['job.success', 'job.error', 'job.canceled'] as const,
          createdAt: at,
          secret,
        },
      }
      const submitted = { jobId: id, at, seq: n, request: aRequest(), owner: null, address: null }
      const gpu = gpuId(n)
      const over = ['success', 'error', 'canceled'].includes(status)
      const operations: QueueOperation[] = [
        { op: 'submit', ...submitted, ...toTell },
        ...(status === 'queued'
          ? []
          : [{ op: 'claim', jobId: id, at, epoch: 1, attempt: 1, gpu, filename } as const]),
        ...(over
          ? [{ op: 'finish', jobId: id, at, epoch: 1, outcome: outcomeOf(status, bytes) } as const]
          : []),
      ]
      await store.commit(operations)
      const isVideo = status === 'success'
      if (isVideo) files.add(filename)
      if (over) files.add(logOf(id))
      jobs.push({
        jobId: id,
        filename,
        status,
        endedAt: at,
        bytes: isVideo ? bytes : 0,
        pinned: false,
        awaited: awaited && over,
        downloading: false,
        gone: false,
        goneAt: 0,
      })
    },

    async pin(which: number, pinned: boolean) {
      const job = pick(which)
      if (job) await pin(job.jobId, pinned)
    },

    download(which: number, downloading: boolean) {
      const job = pick(which)
      if (!job || job.bytes === 0 || job.gone || job.jobId === leaving) return
      if (files.has(job.filename)) job.downloading = downloading
    },

    async replay(which: number) {
      const job = pick(which)
      if (!job || job.gone || job.jobId === leaving) return
      const { numUpdatedRows } = await db
        .updateTable('delivery')
        .set({ status: 'pending', next_at: now.at })
        .where('job_id', '=', job.jobId)
        .executeTakeFirst()
      job.awaited = numUpdatedRows > 0n
    },

    async tellAll() {
      await db.updateTable('delivery').set({ status: 'delivered', next_at: null }).execute()
      for (const job of jobs) job.awaited = false
    },

    wait(ms: number) {
      now.at += ms
      now.uptimeMs += ms
    },

    setClock(byMs: number) {
      now.at += byMs
      if (looked && Math.abs(byMs) > hour) jumps.push(byMs)
    },

    restart: async () => void (await restart()),
  }
  /** Since the janitor looked last. */
  let jumps: number[] = []

  function noteJumps(): void {
    const moved = jumps.reduce((sum, by) => sum + by, 0)
    if (looked && Math.abs(moved) > hour) heldUntil = now.uptimeMs + 24 * hour
    jumps = []
  }

  const goneNow = () => new Set(jobs.filter(({ gone }) => gone).map(({ jobId }) => jobId))

  return {
    may,
    close,
    checkAll,

    /** Takes exactly what is due. */
    async sweep(): Promise<void> {
      noteJumps()
      const [before, due] = [goneNow(), dueNow()]
      await tellJanitor({ type: 'sweepDue' })
      assert.deepEqual(goneNow(), both(before, due), 'what is due goes, and nothing else')
      await checkAll()
    },

    /** Takes nothing that is not due, whatever comes in between and wherever it is cut off. */
    async disturbedSweep(filesThen: number, early: () => Promise<void>, late: () => Promise<void>) {
      noteJumps()
      const [before, due] = [goneNow(), dueNow(isOver)]
      // What somebody needs may be free when the sweep comes to it.
      const noteFree = () => {
        for (const id of due) if (isFree(known(id))) touched.add(id)
      }
      const freed = (act: () => Promise<void>) => () => act().then(noteFree)
      noteFree()
      filesUntilCrash = filesThen
      afterPage = [freed(early)]
      meanwhile = [freed(late)]
      await tellJanitor({ type: 'sweepDue' })
      filesUntilCrash = Number.POSITIVE_INFINITY
      afterPage = []
      meanwhile = []
      for (const id of goneNow()) {
        if (before.has(id)) continue
        // Room that one could not make, since it is kept, another one may have made.
        assert(due.has(id) || limits.maxResultBytes > 0, `${id} was not due`)
      }
      await checkAll()
    },

    /** Says what would go, takes exactly that, and says that it did. */
    async purge(wish: PurgeWish): Promise<void> {
      const due = duePurge(wish)
      const ofPurge = {
        type: 'purge',
        wish,
        by: null,
        replyTo: createPlace<PurgeAnswer>('admin'),
      } as const
      const before = goneNow()
      const told = await tellJanitor({ ...ofPurge, dryRun: true })
      assert.deepEqual(goneNow(), before, 'a dry run takes nothing')
      const meant = jobs.filter(({ jobId, gone, downloading, awaited }) => {
        return !gone && !awaited && (due.has(jobId) || downloading)
      })
      if (meant.every(({ downloading }) => !downloading)) assertTally(told, due)
      const done = await tellJanitor({ ...ofPurge, dryRun: false })
      assert.deepEqual(goneNow(), both(before, due), 'what is meant goes, and nothing else')
      assertTally(done, due)
      await checkAll()
    },
  }

  function assertTally(answer: PurgeAnswer | 'crashed' | undefined, due: ReadonlySet<JobId>): void {
    assert(answer && answer !== 'crashed')
    const those = jobs.filter(({ jobId }) => due.has(jobId))
    const ends = those.map(({ endedAt }) => endedAt)
    const { kept: _, ...told } = answer
    assert.deepEqual(told, {
      jobs: those.length,
      bytes: those.reduce((sum, { bytes }) => sum + bytes, 0),
      ...(those.length > 0 && { oldest: Math.min(...ends), newest: Math.max(...ends) }),
      complete: true,
    })
  }
}

const both = <T>(a: ReadonlySet<T>, b: ReadonlySet<T>): Set<T> => new Set([...a, ...b])

const logOf = (id: JobId): string => `${id}.log`

function outcomeOf(status: JobStatus, bytes: number): Outcome {
  if (status === 'success') return { status, video: aVideo({ bytes }) }
  return status === 'error' ? { status, failure: aFailure() } : { status: 'canceled' }
}
