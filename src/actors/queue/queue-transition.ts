import { RefusalError } from '../../errors.ts'
import { isRetryable } from '../../failures.ts'
import { defaultFilename } from '../../filename.ts'
import {
  type Failure,
  type GpuId,
  type Job,
  type JobId,
  stages,
  type Timestamp,
} from '../../job.ts'
import type { AttemptKey, GenerationResult, Outcome, StoredQueue } from '../ports.ts'
import { first, fromSorted, get, rank, remove, set, size, values } from './ordered-map.ts'
import type {
  CancelTicket,
  QueueCommand,
  QueueEffect,
  QueueNews,
  QueueSettings,
  QueueState,
  RunningJob,
  Submission,
  WaitingJob,
} from './queue-protocol.ts'

export type QueueStep = readonly [QueueState, readonly QueueEffect[]]

/** The queue as the store remembers it. Running jobs wait for their GPU or for the converter to report. */
export function restoreQueue(settings: QueueSettings, stored: StoredQueue): QueueState {
  const named = [...stored.waiting, ...stored.running]
    .flatMap(({ id, request }) =>
      request.filename ? [[nameKey(request.filename), id] as const] : [],
    )
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return {
    settings,
    open: true,
    nextSeq: stored.nextSeq,
    nextTicket: 1,
    waiting: fromSorted(stored.waiting.map((job) => [job.seq, toWaiting(job)] as const)),
    seqOf: fromSorted(
      stored.waiting.map(({ id, seq }) => [id, seq] as const).sort(([a], [b]) => (a < b ? -1 : 1)),
    ),
    running: new Map(stored.running.flatMap(toRunning).map((job) => [job.jobId, job])),
    names: fromSorted(named),
    readyGpus: new Map(),
    secondsPerJob: new Map(),
    tickets: new Map(),
  }
}

/** Every rule of the queue, with no store, process, clock or actor in sight. */
export function transition(
  state: QueueState,
  message: QueueCommand | QueueNews,
  at: Timestamp,
): QueueStep {
  switch (message.type) {
    case 'submit':
      return prepare(state, message)
    case 'admit':
      return admit(state, message, at)
    case 'cancel':
      return cancel(state, message, at)
    case 'cancelOverdue':
      return answerOverdueTicket(state, message.ticket)
    case 'deleteVideos':
      return [
        state,
        [{ do: 'removeVideos', selection: message.selection, replyTo: message.replyTo }],
      ]
    case 'videosRemoved':
      return [
        state,
        [
          ...message.jobs.map(({ jobId }) => stored({ op: 'forgetVideo', jobId, at })),
          { do: 'answerDeleted', to: message.replyTo, jobs: message.jobs },
        ],
      ]
    case 'close':
      return [{ ...state, open: false }, []]
    case 'gpuReady':
      return welcomeGpu(state, message, at)
    case 'gpuGone':
      return [withoutGpu(state, message.gpu), []]
    case 'conversionReady':
      return resumeConversions(state)
    case 'etaReady':
      return [state, [{ do: 'showEta' }]]
    case 'speedsLearned':
      return [{ ...state, secondsPerJob: message.secondsPerJob }, []]
    default:
      return onAttempt(state, message, at)
  }
}

/** What others may not know yet is never shown: 1 is the job that is claimed next. */
export function positionOf(
  state: Pick<QueueState, 'waiting' | 'seqOf'>,
  jobId: JobId,
): number | undefined {
  const seq = get(state.seqOf, jobId)
  return seq === undefined ? undefined : rank(state.waiting, seq) + 1
}

// --- submit ---------------------------------------------------------------------------------

function prepare(state: QueueState, message: Extract<QueueCommand, { type: 'submit' }>): QueueStep {
  const { draft, replyTo } = message
  const refusal = refuseSubmit(state)
  if (refusal) return [state, [{ do: 'answerSubmit', to: replyTo, answer: refusal }]]
  return [state, [{ do: 'prepareSubmission', draft, replyTo }]]
}

function admit(state: QueueState, submission: Submission, at: Timestamp): QueueStep {
  const { jobId, request, replyTo } = submission
  const refusal = refuseSubmit(state) ?? refuseName(state, submission)
  if (refusal) return [state, [{ do: 'answerSubmit', to: replyTo, answer: refusal }]]

  const seq = state.nextSeq
  const { filename } = request
  const waiting: WaitingJob = { jobId, seq, epoch: 0, attempts: 0, ...(filename && { filename }) }
  const queued = {
    ...enqueue(state, waiting),
    nextSeq: seq + 1,
    names: filename ? set(state.names, nameKey(filename), jobId) : state.names,
  }
  const job: Job = {
    id: jobId,
    seq,
    request,
    submittedAt: at,
    epoch: 0,
    attempts: 0,
    state: { status: 'queued' },
  }
  const answer = { job, position: size(queued.waiting) }
  return thenAssign(
    [
      queued,
      [
        stored({ op: 'submit', jobId, seq, request, at }),
        { do: 'answerSubmit', to: replyTo, answer },
        { do: 'logStatus', jobId, status: 'queued', epoch: 0 },
      ],
    ],
    at,
  )
}

function refuseSubmit({ open, waiting, settings }: QueueState): RefusalError | undefined {
  if (!open)
    return new RefusalError('shutting_down', 'The service is stopping and takes no new jobs.')
  if (size(waiting) < settings.maxQueue) return undefined
  return new RefusalError(
    'queue_full',
    `${settings.maxQueue} jobs are waiting already (MAX_QUEUE); try again when some have ended.`,
  )
}

function refuseName(
  state: QueueState,
  { request, nameTaken }: Submission,
): RefusalError | undefined {
  const { filename } = request
  if (!filename) return undefined
  if (!nameTaken && get(state.names, nameKey(filename)) === undefined) return undefined
  return new RefusalError(
    'filename_taken',
    `filename: "${filename}" exists already or is promised to another job; choose another name or leave it out.`,
    { field: 'filename' },
  )
}

/** Names that differ only in case would be one file on the disks of some who download them. */
export const nameKey = (filename: string): string => filename.toLowerCase()

// --- claim ----------------------------------------------------------------------------------

function welcomeGpu(
  state: QueueState,
  { gpu, incarnation, holding }: Extract<QueueNews, { type: 'gpuReady' }>,
  at: Timestamp,
): QueueStep {
  if (state.readyGpus.get(gpu) === incarnation) return [state, []]
  const own = generatingOn(state, gpu)
  const isOwn = own && holding?.jobId === own.jobId && holding.epoch === own.epoch
  // It works on what it should not: it is ready only when it has announced itself anew without it.
  if (holding && !isOwn) {
    return [state, [{ do: 'stopGeneration', ...holding, gpu, reason: 'orphaned' }]]
  }
  const ready = { ...state, readyGpus: new Map([...state.readyGpus, [gpu, incarnation]]) }
  if (!own) return assign(ready, at)

  if (isOwn) return [ready, []]
  const { jobId, epoch } = own
  const adopted: RunningJob =
    state.settings.orphanPolicy === 'adopt' ? own : { ...own, orphaned: true }
  return [withRunning(ready, adopted), [{ do: 'adoptGeneration', jobId, epoch, gpu }]]
}

/** Gives waiting jobs, oldest first, to free GPUs, as long as another may load its model now. */
function assign(state: QueueState, at: Timestamp): QueueStep {
  let now = state
  const effects: QueueEffect[] = []
  while (now.open) {
    const head = first(now.waiting)?.value
    if (!head || loading(now) >= now.settings.maxConcurrentLoads) break
    const gpu = bestGpu(now, head)
    if (gpu === undefined) break
    const [next, more] = claim(now, head, gpu, at)
    now = next
    effects.push(...more)
  }
  return [now, effects]
}

const thenAssign = ([state, effects]: QueueStep, at: Timestamp): QueueStep => {
  const [next, more] = assign(state, at)
  return [next, [...effects, ...more]]
}

/** Of the free GPUs the one that will finish first by its own history; the lowest number breaks ties. */
function bestGpu(state: QueueState, job: WaitingJob): GpuId | undefined {
  const free = state.settings.gpus.filter(
    (gpu) => state.readyGpus.has(gpu) && !generatingOn(state, gpu),
  )
  const seconds = (gpu: GpuId) => state.secondsPerJob.get(gpu) ?? averageOf(state.secondsPerJob)
  const rating = (gpu: GpuId) => [gpu === job.failedOn ? 1 : 0, seconds(gpu), gpu] as const
  return free.toSorted((a, b) => compare(rating(a), rating(b)))[0]
}

function claim(state: QueueState, job: WaitingJob, gpu: GpuId, at: Timestamp): QueueStep {
  const { jobId, seq } = job
  const epoch = job.epoch + 1
  const attempts = job.attempts + 1
  const filename = job.filename ?? defaultFilename(jobId, gpu, at)
  const running: RunningJob = {
    jobId,
    seq,
    epoch,
    attempts,
    gpu,
    filename,
    ...(job.filename && { requestedFilename: job.filename }),
    phase: 'generating',
    claimedAt: at,
    cancelRequested: false,
  }
  return [
    withRunning(dequeue(state, jobId, seq), running),
    [
      stored({ op: 'claim', jobId, epoch, attempt: attempts, gpu, filename, at }),
      { do: 'startGeneration', jobId, epoch, gpu },
      { do: 'logStatus', jobId, status: 'running', epoch, gpu },
    ],
  ]
}

const generatingOn = ({ running }: QueueState, gpu: GpuId): RunningJob | undefined =>
  [...running.values()].find((job) => job.gpu === gpu && job.phase === 'generating')

const loading = ({ running }: QueueState): number => [...running.values()].filter(isLoading).length

/** Until its first reading too: the text encoder is built in silence, and that is when memory runs short. */
const isLoading = ({ phase, reading }: RunningJob): boolean =>
  phase === 'generating' && (reading === undefined || reading.stage === 'loading')

// --- news about an attempt -------------------------------------------------------------------

type AttemptMessage = Extract<QueueNews, AttemptKey>

/** News that carries an older epoch, or of a job that is over, comes too late and is dropped here. */
function onAttempt(state: QueueState, message: AttemptMessage, at: Timestamp): QueueStep {
  const job = state.running.get(message.jobId)
  if (!job || job.epoch !== message.epoch) return [state, []]
  const phase = message.type.startsWith('conver') ? 'converting' : 'generating'
  if (job.phase !== phase) return [state, []]

  switch (message.type) {
    case 'generationStarted':
      return generationStarted(state, job, message.startedAt)
    case 'generationReported':
      if (job.reading && isBehind(message.reading, job.reading)) return [state, []]
      return assign(withRunning(state, { ...job, reading: message.reading }), at)
    // Not ready, whatever we thought: its next announcement tells when it is.
    case 'runDeclined':
      return release(withoutGpu(state, job.gpu), job, at)
    case 'generationEnded':
      return generationEnded(state, job, message.result, at)
    case 'converted':
      return job.cancelRequested
        ? finish(state, job, { status: 'canceled' }, at)
        : succeeded(state, job, message.video, at)
    case 'conversionFailed':
      return attemptFailed(state, job, message.failure, at)
    case 'conversionAborted':
      return finish(state, job, { status: 'canceled' }, at)
  }
}

/** Also of one that was adopted: whatever should have stopped it before is repeated now. */
function generationStarted(state: QueueState, job: RunningJob, startedAt: Timestamp): QueueStep {
  const { jobId, epoch, gpu } = job
  const reason = job.cancelRequested ? 'canceled' : job.orphaned ? 'orphaned' : undefined
  const stop: QueueEffect[] = reason ? [{ do: 'stopGeneration', jobId, epoch, gpu, reason }] : []
  if (job.startedAt !== undefined) return [state, stop]
  return [
    withRunning(state, { ...job, startedAt }),
    [stored({ op: 'began', jobId, epoch, at: startedAt }), ...stop],
  ]
}

function generationEnded(
  state: QueueState,
  job: RunningJob,
  result: GenerationResult,
  at: Timestamp,
): QueueStep {
  if (job.cancelRequested) return finish(state, job, { status: 'canceled' }, at)
  switch (result.how) {
    case 'completed':
      return generated(state, job, at)
    case 'neverBegan':
      return release(state, job, at)
    case 'failed':
      return job.orphaned
        ? orphanLost(state, job, at)
        : attemptFailed(state, job, result.failure, at)
    case 'lost':
      return orphanLost(state, job, at)
  }
}

function orphanLost(state: QueueState, job: RunningJob, at: Timestamp): QueueStep {
  const failure: Failure = {
    code: 'lost',
    message: job.orphaned
      ? 'What watched over the generation died, and ORPHAN_POLICY had it stopped.'
      : 'The generation died together with what watched over it, so its end is unknown.',
  }
  return state.settings.orphanPolicy === 'fail'
    ? finish(state, job, { status: 'error', failure }, at)
    : attemptFailed(state, job, failure, at)
}

/** The GPU is free from here on; the file is made ready elsewhere. */
function generated(state: QueueState, job: RunningJob, at: Timestamp): QueueStep {
  const { jobId, epoch, filename } = job
  const { reading: _, ...rest } = job
  return thenAssign(
    [
      withRunning(state, { ...rest, phase: 'converting', generatedAt: at }),
      [stored({ op: 'generated', jobId, epoch, at }), { do: 'convert', jobId, epoch, filename }],
    ],
    at,
  )
}

function attemptFailed(
  state: QueueState,
  job: RunningJob,
  failure: Failure,
  at: Timestamp,
): QueueStep {
  if (job.cancelRequested) return finish(state, job, { status: 'canceled' }, at)
  const again = isRetryable(failure.code) && job.attempts < state.settings.maxAttempts
  return again
    ? release(state, job, at, failure)
    : finish(state, job, { status: 'error', failure }, at)
}

/** Back to its old place in the queue. Only what failed counts as an attempt. */
function release(state: QueueState, job: RunningJob, at: Timestamp, failure?: Failure): QueueStep {
  if (job.cancelRequested) return finish(state, job, { status: 'canceled' }, at)
  const { jobId, seq, epoch, gpu } = job
  const attempts = failure ? job.attempts : job.attempts - 1
  const { requestedFilename: filename } = job
  const waiting = {
    jobId,
    seq,
    epoch,
    attempts,
    ...(filename && { filename }),
    ...(failure && { failedOn: gpu }),
  }
  const cause = failure ? { failure } : {}
  return thenAssign(
    [
      enqueue({ ...state, running: withoutKey(state.running, jobId) }, waiting),
      [
        stored({ op: 'release', jobId, epoch, attempts, ...cause, at }),
        { do: 'logStatus', jobId, status: 'queued', epoch, gpu, ...cause },
      ],
    ],
    at,
  )
}

function succeeded(
  state: QueueState,
  job: RunningJob,
  video: Extract<Outcome, { status: 'success' }>['video'],
  at: Timestamp,
): QueueStep {
  const [next, effects] = finish(state, job, { status: 'success', video }, at)
  const generatedAt = job.generatedAt ?? at
  const news = {
    gpu: job.gpu,
    generationSeconds: (generatedAt - job.claimedAt) / 1000,
    conversionSeconds: (at - generatedAt) / 1000,
  }
  return [next, [...effects, { do: 'tellEta', news }]]
}

function finish(state: QueueState, job: RunningJob, outcome: Outcome, at: Timestamp): QueueStep {
  const { jobId, epoch, gpu } = job
  const over = forgetName(
    { ...state, running: withoutKey(state.running, jobId) },
    job.requestedFilename,
  )
  const [answered, answers] =
    outcome.status === 'canceled' ? settleTickets(over, jobId) : dropFromTickets(over, jobId)
  const cause = outcome.status === 'error' ? { failure: outcome.failure } : {}
  return thenAssign(
    [
      answered,
      [
        stored({ op: 'finish', jobId, epoch, outcome, at }),
        { do: 'discardWork', jobId },
        ...answers,
        { do: 'logStatus', jobId, status: outcome.status, epoch, gpu, ...cause },
      ],
    ],
    at,
  )
}

/** A new converter knows of nothing; one that does know drops what it has already. */
function resumeConversions(state: QueueState): QueueStep {
  const converting = [...state.running.values()].filter(({ phase }) => phase === 'converting')
  const effects = converting.map(({ jobId, epoch, filename, cancelRequested }) =>
    cancelRequested
      ? ({ do: 'abortConversion', jobId, epoch } as const)
      : ({ do: 'convert', jobId, epoch, filename } as const),
  )
  return [state, effects]
}

/** Readings only go forward within an attempt, whatever order they come in. */
function isBehind(a: RunningJob['reading'] & {}, b: RunningJob['reading'] & {}): boolean {
  const lag = stages.indexOf(a.stage) - stages.indexOf(b.stage)
  return lag < 0 || (lag === 0 && (a.step ?? 0) < (b.step ?? 0))
}

// --- cancel ---------------------------------------------------------------------------------

function cancel(
  state: QueueState,
  { selection, replyTo }: Extract<QueueCommand, { type: 'cancel' }>,
  at: Timestamp,
): QueueStep {
  const selected =
    'ids' in selection ? [...new Set(selection.ids)] : active(state, selection.status)
  const queued = selected.filter((id) => get(state.seqOf, id) !== undefined)
  const running = selected.filter((id) => state.running.has(id))
  const known = new Set([...queued, ...running])
  const rest = selected.filter((id) => !known.has(id))

  let now = state
  const effects: QueueEffect[] = []
  for (const jobId of queued) {
    const [next, more] = cancelQueued(now, jobId, at)
    now = next
    effects.push(...more)
  }
  for (const jobId of running) {
    const [next, more] = cancelRunning(now, jobId, at)
    now = next
    effects.push(...more)
  }
  if (running.length === 0) {
    const answer = { canceled: queued, canceling: [], rest }
    return [now, [...effects, { do: 'answerCancel', to: replyTo, answer }]]
  }
  const ticket = now.nextTicket
  const open: CancelTicket = { replyTo, waitingFor: new Set(running), canceled: queued, rest }
  return [
    { ...now, nextTicket: ticket + 1, tickets: new Map([...now.tickets, [ticket, open]]) },
    [...effects, { do: 'expectCancel', ticket, withinMs: now.settings.cancelWaitMs }],
  ]
}

function active(state: QueueState, status: readonly ('queued' | 'running')[]): JobId[] {
  const queued = status.includes('queued')
    ? [...values(state.waiting)].map(({ jobId }) => jobId)
    : []
  return status.includes('running') ? [...queued, ...state.running.keys()] : queued
}

function cancelQueued(state: QueueState, jobId: JobId, at: Timestamp): QueueStep {
  const seq = get(state.seqOf, jobId)
  const job = seq === undefined ? undefined : get(state.waiting, seq)
  if (!job) return [state, []]
  const { epoch } = job
  return [
    forgetName(dequeue(state, jobId, job.seq), job.filename),
    [
      stored({ op: 'finish', jobId, epoch, outcome: { status: 'canceled' }, at }),
      { do: 'discardWork', jobId },
      { do: 'logStatus', jobId, status: 'canceled', epoch },
    ],
  ]
}

/** The wish is on disk before anything is stopped: from then on the job can only end as canceled. */
function cancelRunning(state: QueueState, jobId: JobId, at: Timestamp): QueueStep {
  const job = state.running.get(jobId)
  if (!job || job.cancelRequested) return [state, []]
  const { epoch, gpu } = job
  const stop: QueueEffect =
    job.phase === 'generating'
      ? { do: 'stopGeneration', jobId, epoch, gpu, reason: 'canceled' }
      : { do: 'abortConversion', jobId, epoch }
  return [
    withRunning(state, { ...job, cancelRequested: true }),
    [stored({ op: 'requestCancel', jobId, epoch, at }), stop],
  ]
}

/** One of the jobs somebody waits for is canceled. */
function settleTickets(state: QueueState, jobId: JobId): QueueStep {
  return updateTickets(state, jobId, (ticket) => ({
    ...ticket,
    canceled: [...ticket.canceled, jobId],
  }))
}

/** A job that ended otherwise will never be canceled: nobody waits for it any longer. */
function dropFromTickets(state: QueueState, jobId: JobId): QueueStep {
  return updateTickets(state, jobId, (ticket) => ({ ...ticket, rest: [...ticket.rest, jobId] }))
}

function updateTickets(
  state: QueueState,
  jobId: JobId,
  note: (ticket: CancelTicket) => CancelTicket,
): QueueStep {
  const tickets = new Map(state.tickets)
  const effects: QueueEffect[] = []
  for (const [number, ticket] of state.tickets) {
    if (!ticket.waitingFor.has(jobId)) continue
    const noted = { ...note(ticket), waitingFor: without(ticket.waitingFor, jobId) }
    tickets.set(number, noted)
    if (noted.waitingFor.size > 0) continue
    tickets.delete(number)
    effects.push(answerTicket(noted))
  }
  return [{ ...state, tickets }, effects]
}

function answerOverdueTicket(state: QueueState, number: number): QueueStep {
  const ticket = state.tickets.get(number)
  if (!ticket) return [state, []]
  return [{ ...state, tickets: withoutKey(state.tickets, number) }, [answerTicket(ticket)]]
}

const answerTicket = ({ replyTo, canceled, waitingFor, rest }: CancelTicket): QueueEffect => ({
  do: 'answerCancel',
  to: replyTo,
  answer: { canceled, canceling: [...waitingFor], rest },
})

// --- small things ---------------------------------------------------------------------------

const stored = (operation: Extract<QueueEffect, { do: 'store' }>['operation']): QueueEffect => ({
  do: 'store',
  operation,
})

const enqueue = (state: QueueState, job: WaitingJob): QueueState => ({
  ...state,
  waiting: set(state.waiting, job.seq, job),
  seqOf: set(state.seqOf, job.jobId, job.seq),
})

const dequeue = (state: QueueState, jobId: JobId, seq: number): QueueState => ({
  ...state,
  waiting: remove(state.waiting, seq),
  seqOf: remove(state.seqOf, jobId),
})

const withRunning = (state: QueueState, job: RunningJob): QueueState => ({
  ...state,
  running: new Map([...state.running, [job.jobId, job]]),
})

const forgetName = (state: QueueState, filename: string | undefined): QueueState =>
  filename ? { ...state, names: remove(state.names, nameKey(filename)) } : state

const withoutGpu = (state: QueueState, gpu: GpuId): QueueState => ({
  ...state,
  readyGpus: withoutKey(state.readyGpus, gpu),
})

function withoutKey<K, V>(map: ReadonlyMap<K, V>, key: K): ReadonlyMap<K, V> {
  const rest = new Map(map)
  rest.delete(key)
  return rest
}

function without<T>(set: ReadonlySet<T>, item: T): ReadonlySet<T> {
  const rest = new Set(set)
  rest.delete(item)
  return rest
}

const averageOf = (seconds: ReadonlyMap<GpuId, number>): number =>
  seconds.size === 0
    ? 0
    : [...seconds.values()].reduce((sum, value) => sum + value, 0) / seconds.size

function compare(a: readonly number[], b: readonly number[]): number {
  for (const [index, value] of a.entries()) {
    const other = b[index] ?? 0
    if (value !== other) return value - other
  }
  return 0
}

const toWaiting = ({ id, seq, epoch, attempts, request: { filename } }: Job): WaitingJob => ({
  jobId: id,
  seq,
  epoch,
  attempts,
  ...(filename && { filename }),
})

function toRunning({ id, seq, epoch, attempts, request, state }: Job): RunningJob[] {
  if (state.status !== 'running') return []
  const { status: _, ...running } = state
  const { filename: requestedFilename } = request
  return [
    {
      jobId: id,
      seq,
      epoch,
      attempts,
      ...running,
      ...(requestedFilename && { requestedFilename }),
    },
  ]
}
