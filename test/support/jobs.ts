/** Words of the domain, ready for use: ids, requests, videos, and jobs in each of their states. */
import * as v from 'valibot'
import { type Behaviour, spawn, startActorSystem } from '../../src/actors/actor.ts'
import type { StoredQueue } from '../../src/actors/queue/queue-ports.ts'
import type { Submission } from '../../src/actors/queue/queue-protocol.ts'
import type { QueueSettings } from '../../src/actors/queue/queue-state.ts'
import type { Client } from '../../src/domain/client.ts'
import {
  type Failure,
  type FailureCode,
  GpuId,
  type Job,
  JobId,
  type JobState,
  type VideoFacts,
  type VideoRequest,
} from '../../src/domain/job.ts'
import { soleNode } from '../../src/domain/node.ts'

/** Midnight, when a test does not care about the time. */
export const midnight = Date.UTC(2026, 0, 1)

export const jobId = (n: number): JobId =>
  v.parse(JobId, `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`)

export const gpuId = (n: number): GpuId => v.parse(GpuId, n)
export const [gpu0, gpu1, gpu2] = [gpuId(0), gpuId(1), gpuId(2)]

export const aRequest = (wished: Partial<TextRequest> = {}): TextRequest => ({
  prompt: 'a fox in the snow',
  size: '1280x720',
  frames: 121,
  steps: 50,
  seed: 7,
  ...wished,
})

type TextRequest = Omit<VideoRequest, 'image'>

/** What job `n` is submitted with besides its request: sent once, and like no other. */
export const sentOnce = (n: number): Pick<Submission, 'identity' | 'repetition'> => ({
  identity: { caller: 'somebody', fingerprint: String(n) },
  repetition: { isRetry: false },
})

/** A finished video of `aRequest()`. */
export const aVideo = (facts: Partial<VideoFacts> = {}): VideoFacts => ({
  width: 1280,
  height: 720,
  frames: 121,
  durationSeconds: 5.04,
  bytes: 3_000_000,
  ...facts,
})

/** What the generation leaves for `aRequest()`, before anything is made of it. */
export const aSource = (facts: Partial<VideoFacts> = {}): VideoFacts =>
  aVideo({ height: 704, ...facts })

export const aFailure = (code: FailureCode = 'out_of_memory'): Failure => ({
  code,
  message: `it failed: ${code}`,
})

/** Who asks where nobody is asked for a token. */
export const anybody: Client = { name: null, isAdmin: true, address: '192.0.2.1' }

/** What is stored of `anybody` with a job. */
export const fromAnybody = { owner: null, address: null } as const

/** A queue as the store has it before the first job. */
export const emptyQueue: StoredQueue = {
  nextSeq: 1,
  waiting: [],
  running: [],
  gpus: new Map(),
  drainedNodes: new Set(),
  lost: [],
  submissions: [],
}

export const queueSettings: QueueSettings = {
  node: soleNode,
  gpus: [gpu0, gpu1],
  maxAttempts: 2,
  maxQueue: 100,
  jobsPerHour: 0,
  maxConcurrentLoads: 8,
  orphanPolicy: 'adopt',
  quarantineAfter: 1_000,
  quarantineMs: 60_000,
  cancelWaitMs: 15_000,
}

/** The record of job `n`, which waits. */
export const aQueuedJob = (n: number, { filename, ...known }: QueuedJob = {}): Job => ({
  id: jobId(n),
  seq: n,
  request: aRequest(filename === undefined ? {} : { filename }),
  owner: null,
  submittedAt: midnight,
  epoch: 0,
  attempts: 0,
  ...known,
  state: { status: 'queued' },
})

type QueuedJob = Partial<Pick<Job, 'owner' | 'epoch' | 'attempts' | 'seq'>> & { filename?: string }

/** The record of job `n`, at its first attempt on GPU 0 if nothing else is said. */
export const aRunningJob = (
  n: number,
  state: Partial<Extract<JobState, { status: 'running' }>> = {},
  known: QueuedJob = {},
): Job => ({
  ...aQueuedJob(n, { epoch: 1, attempts: 1, ...known }),
  state: {
    status: 'running',
    phase: 'generating',
    gpu: gpu0,
    filename: known.filename ?? `video-${n}.mp4`,
    claimedAt: midnight,
    cancelRequested: false,
    ...state,
  },
})

/** One actor in a system of its own. */
export const anActor = <State, Message>(name: string, behaviour: Behaviour<State, Message>) =>
  spawn(startActorSystem(), name, behaviour, () => {})
