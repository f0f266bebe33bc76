/** Access to the stores under test. A conformance suite knows the ports and this file only. */
import { afterEach, beforeEach, expect } from 'vitest'
import type { ArchiveOperation, ArchiveStore } from '../../../src/actors/archive/archive-ports.ts'
import type { AttemptHistory, EstimateLog } from '../../../src/actors/eta/eta-ports.ts'
import type { RetentionStore } from '../../../src/actors/janitor/janitor-ports.ts'
import type {
  CommitResult,
  QueueOperation,
  QueueStore,
} from '../../../src/actors/queue/queue-ports.ts'
import type { WebhookStore } from '../../../src/actors/webhook/webhook-ports.ts'
import type { History } from '../../../src/domain/history.ts'
import type { GpuId } from '../../../src/domain/job.ts'

/** A change to jobs, whichever actor makes it. */
export type StoreOperation = QueueOperation | ArchiveOperation

/** The ports of the queue and of the archive over one database. */
export type JobStore = Omit<QueueStore & ArchiveStore, 'commit'> &
  Readonly<{ commit(operations: readonly StoreOperation[]): Promise<CommitResult> }>

/** All stores over one database. */
export type Stores = Readonly<{
  jobs: JobStore
  eta: AttemptHistory & EstimateLog
  history: History
  retention: RetentionStore
  webhooks: WebhookStore
}>

/** Facts that a store of jobs writes with each attempt. */
export type AttemptContext = Readonly<{
  task: string
  gpuModels: ReadonlyMap<GpuId, string | undefined>
}>

export type OpenStores = Stores &
  Readonly<{
    /** A second store of jobs over the same database. */
    jobsWith(context: AttemptContext): JobStore
    /** The content of the database as text, to compare two states and to search for deleted data. */
    contents(): Promise<string>
    /** Closes these stores and opens their database again, as the next process does. */
    reopen(): Promise<OpenStores>
    close(): Promise<void>
  }>

/** Creates stores over an empty database. Their task is `ti2v-5B`. */
export type CreateStores = () => Promise<OpenStores>

/** The stores of the current test. Each test has an empty database. */
export type StoresOfTest = Stores &
  Pick<OpenStores, 'jobsWith' | 'contents'> &
  Readonly<{ reopen(): Promise<void> }>

export function useStores(createStores: CreateStores): StoresOfTest {
  let current: OpenStores | undefined
  beforeEach(async () => {
    current = await createStores()
  })
  afterEach(() => current?.close())

  const opened = (): OpenStores => {
    if (!current) throw new Error('stores are open inside a test only')
    return current
  }
  return {
    get jobs() {
      return opened().jobs
    },
    get eta() {
      return opened().eta
    },
    get history() {
      return opened().history
    },
    get retention() {
      return opened().retention
    },
    get webhooks() {
      return opened().webhooks
    },
    jobsWith: (context) => opened().jobsWith(context),
    contents: () => opened().contents(),
    async reopen() {
      current = await opened().reopen()
    },
  }
}

type Committing = Readonly<{ jobs: Pick<JobStore, 'commit'> }>

/** Commits operations that the store must accept. */
export async function commit(
  { jobs }: Committing,
  operations: readonly StoreOperation[],
): Promise<void> {
  expect(await jobs.commit(operations)).toEqual({ how: 'committed' })
}

/** Expects that the store refuses operations because a record is not in the state they require. */
export async function expectStale(
  { jobs }: Committing,
  operations: readonly StoreOperation[],
  message = '',
): Promise<void> {
  expect(await jobs.commit(operations)).toEqual({
    how: 'stale',
    why: expect.stringContaining(message),
  })
}

/** Expects that the store refuses operations because two records would contradict each other. */
export async function expectConflict(
  { jobs }: Committing,
  operations: readonly StoreOperation[],
): Promise<void> {
  await expect(jobs.commit(operations)).rejects.toThrow(/UNIQUE|constraint/)
}
