/** What the store keeps of jobs, as a plain list, and a strict eye on what may be done to it. */
import { strict as assert } from 'node:assert'
import type {
  Earlier,
  Identity,
  JobOperation,
  LostAttempt,
  QueueOperation,
  StoredQueue,
} from '../../src/actors/queue/queue-ports.ts'
import { costsAttempt } from '../../src/domain/failures.ts'
import type {
  Epoch,
  GpuHealth,
  GpuId,
  Job,
  JobId,
  JobStatus,
  RunningPhase,
  Timestamp,
  VideoRequest,
} from '../../src/domain/job.ts'
import type { NodeName } from '../../src/domain/node.ts'

export type StoredJob = Readonly<{
  jobId: JobId
  seq: number
  request: VideoRequest
  owner: string | null
  submittedAt: Timestamp
  status: JobStatus
  epoch: Epoch
  attempts: number
  cancelRequested: boolean
  /** How many attempts have been given back as failed, by themselves and not by the environment. */
  failures: number
  attempt?: StoredAttempt
  /** Attempts that failed as `node_lost`, and are not accounted for. */
  lost: readonly LostAttempt[]
}>

type StoredAttempt = Readonly<{
  gpu: GpuId
  filename: string
  phase: RunningPhase
  claimedAt: Timestamp
  startedAt?: Timestamp
  generatedAt?: Timestamp
}>

export function createPlainStore() {
  /** In the order in which they were taken, whatever `seq` says. */
  const jobs = new Map<JobId, StoredJob>()
  const gpus = new Map<GpuId, GpuHealth>()
  const drainedNodes = new Set<NodeName>()
  const keys = new Map<string, Earlier>()

  const all = () => [...jobs.values()]
  const having = (status: JobStatus) => all().filter((job) => job.status === status)

  return {
    all,
    having,
    find: (jobId: JobId) => jobs.get(jobId),
    findSubmission: ({ caller, key }: Identity) => keys.get(`${caller} ${key}`),

    load(): StoredQueue {
      const bySeq = (a: StoredJob, b: StoredJob) => a.seq - b.seq
      return {
        nextSeq: Math.max(0, ...all().map(({ seq }) => seq)) + 1,
        waiting: having('queued').toSorted(bySeq).map(toJob),
        running: having('running').toSorted(bySeq).map(toJob),
        gpus: new Map(gpus),
        drainedNodes: new Set(drainedNodes),
        lost: all().flatMap(({ status, lost }) =>
          status === 'queued' || status === 'running' ? lost : [],
        ),
        submissions: [],
      }
    },

    apply(operation: QueueOperation): void {
      if (operation.op === 'setGpuHealth') {
        gpus.set(operation.gpu, operation.health)
        return
      }
      if (operation.op === 'setNodeDrained') {
        if (operation.drained) drainedNodes.add(operation.node)
        else drainedNodes.delete(operation.node)
        return
      }
      if (operation.op === 'account') {
        for (const { jobId, epoch } of operation.attempts) {
          const job = jobs.get(jobId)
          assert(job, 'only attempts of a job are accounted for')
          jobs.set(jobId, { ...job, lost: job.lost.filter((one) => one.epoch !== epoch) })
        }
        return
      }
      const { jobId, at } = operation
      if (operation.op === 'submit') {
        const { seq, request, owner } = operation
        assert(!jobs.has(jobId), `${jobId} is submitted twice`)
        assert(!all().some((job) => job.seq === seq), `number ${seq} is given twice`)
        jobs.set(jobId, {
          jobId,
          seq,
          request,
          owner,
          submittedAt: at,
          status: 'queued',
          epoch: 0,
          attempts: 0,
          cancelRequested: false,
          failures: 0,
          lost: [],
        })
        return
      }
      const job = jobs.get(jobId)
      assert(job, `${operation.op} of a job that was never submitted`)
      if (operation.op === 'remember') {
        const { caller, key } = operation.identity
        const name = `${caller} ${key}`
        assert(key === undefined || !keys.has(name), `two jobs are taken for ${name}`)
        if (key !== undefined)
          keys.set(name, { jobId, fingerprint: operation.identity.fingerprint })
        return
      }
      const active = job.status === 'queued' || job.status === 'running'
      assert(active, `${operation.op} of ${jobId}, which is ${job.status} for good`)
      const epoch = operation.op === 'claim' ? operation.epoch - 1 : operation.epoch
      assert.equal(epoch, job.epoch, `${operation.op} of ${jobId} at an epoch that is not its own`)
      jobs.set(jobId, { ...job, ...changeOf(job, operation) })
    },
  }

  function changeOf(
    job: StoredJob,
    operation: Exclude<JobOperation, { op: 'submit' | 'remember' }>,
  ): Partial<StoredJob> {
    const { at } = operation
    if (operation.op === 'claim') {
      const { epoch, gpu, filename } = operation
      assert.equal(job.status, 'queued', 'only what waits can be claimed')
      const others = having('running').filter(({ attempt }) => attempt?.phase === 'generating')
      assert(!others.some(({ attempt }) => attempt?.gpu === gpu), `GPU ${gpu} has a job already`)
      const attempt = { gpu, filename, phase: 'generating', claimedAt: at } as const
      return { status: 'running', epoch, attempts: operation.attempt, attempt }
    }
    if (operation.op === 'reclaim') {
      const { epoch, gpu, filename, claimedAt, startedAt } = operation
      assert.equal(job.status, 'queued', 'only what waits can be taken back')
      const others = having('running').filter(({ attempt }) => attempt?.phase === 'generating')
      assert(!others.some(({ attempt }) => attempt?.gpu === gpu), `GPU ${gpu} has a job already`)
      const lost = job.lost.find((one) => one.epoch === epoch && one.gpu === gpu)
      assert(lost, 'only what was lost there can be taken back')
      assert.deepEqual([lost.claimedAt, lost.startedAt], [claimedAt, startedAt])
      const times = { claimedAt, ...(startedAt !== undefined && { startedAt }) }
      return {
        ...{ status: 'running', attempts: operation.attempt },
        attempt: { gpu, filename, phase: 'generating', ...times },
        lost: job.lost.filter((one) => one !== lost),
      }
    }
    if (operation.op === 'finish') return { status: operation.outcome.status }

    const { attempt } = job
    assert(job.status === 'running' && attempt, `${operation.op} of a job that does not run`)
    switch (operation.op) {
      case 'began':
        return { attempt: { ...attempt, startedAt: at } }
      case 'generated':
        assert.equal(attempt.phase, 'generating')
        return { attempt: { ...attempt, phase: 'converting', generatedAt: at } }
      case 'requestCancel':
        return { cancelRequested: true }
      case 'release': {
        const { attempts, failure } = operation
        const { gpu, claimedAt, startedAt, generatedAt } = attempt
        const lost: LostAttempt = {
          ...{ jobId: job.jobId, epoch: job.epoch, gpu, claimedAt },
          ...(startedAt !== undefined && { startedAt }),
          ...(generatedAt !== undefined && { generatedAt }),
        }
        return {
          ...(failure?.code === 'node_lost' && { lost: [...job.lost, lost] }),
          status: 'queued',
          attempts,
          failures: job.failures + (failure && costsAttempt(failure.code) ? 1 : 0),
        }
      }
    }
  }
}

export type PlainStore = ReturnType<typeof createPlainStore>

function toJob(job: StoredJob): Job {
  const { jobId: id, seq, request, owner, submittedAt, epoch, attempts, cancelRequested } = job
  const known = { id, seq, request, owner, submittedAt, epoch, attempts }
  if (job.status === 'running' && job.attempt) {
    return { ...known, state: { status: 'running', ...job.attempt, cancelRequested } }
  }
  return { ...known, state: { status: 'queued' } }
}
