/** What the queue does with files and the store before it decides, or after it has. */
import { randomInt } from 'node:crypto'
import { type Client, callerOf, type Scope } from '../../domain/client.ts'
import { hasExpired, jobNotFound, RefusalError } from '../../domain/errors.ts'
import { fingerprintOf } from '../../domain/fingerprint.ts'
import type { Job, JobId, VideoDraft } from '../../domain/job.ts'
import type { NewWebhook } from '../../domain/webhook.ts'
import { newSecret, newWebhookId, openAiEvents, ownEvents } from '../../domain/webhook.ts'
import { mayExpire } from './expire-rules.ts'
import type { JobStore, VideoFiles, WorkFiles } from './queue-ports.ts'
import type { DeletedVideo, ExpireAnswer, QueueEffect } from './queue-protocol.ts'
import { lookBackMs, mayBeRepeated } from './repeat-rules.ts'

export type FileWorkOptions = Readonly<{
  store: JobStore
  videoFiles: VideoFiles
  workFiles: WorkFiles
}>

export function createFileWork({ store, videoFiles, workFiles }: FileWorkOptions) {
  return { prepare, removeVideos, removeJob, expireJobs, find }

  async function prepare({
    draft,
    client,
    repetition,
  }: Extract<QueueEffect, { do: 'prepareSubmission' }>) {
    const { key } = repetition
    const identity = {
      caller: callerOf(client),
      fingerprint: fingerprintOf(draft),
      ...(key !== undefined && { key }),
    }
    const earlier = mayBeRepeated(repetition)
      ? await store.findSubmission(identity, Date.now() - lookBackMs(repetition))
      : undefined
    const { image: upload, webhook, seed = randomSeed(), ...rest } = draft
    const { filename } = rest
    const jobId = crypto.randomUUID() as JobId
    const nameTaken =
      filename !== undefined &&
      ((await store.isNamePromised(filename)) || (await videoFiles.exists(filename)))
    const toTell = webhook && { webhook: webhookOf(jobId, client, webhook) }
    const known = { jobId, client, identity, repetition, earlier, nameTaken, ...toTell }
    if (!upload || earlier) return { ...known, request: { ...rest, seed } }
    const { uploadId, ...image } = upload
    await workFiles.keepImage(jobId, uploadId)
    return { ...known, request: { ...rest, seed, image } }
  }

  async function removeVideos({
    selection,
    scope,
  }: Extract<QueueEffect, { do: 'removeVideos' }>): Promise<DeletedVideo[]> {
    const deleted: DeletedVideo[] = []
    for (const { id, state } of await store.videos(selection, scope)) {
      if (state.status !== 'success') continue
      await videoFiles.remove({ jobId: id, filename: state.filename })
      deleted.push({ jobId: id, filename: state.filename })
    }
    return deleted
  }

  async function removeJob({
    jobId,
    scope,
  }: Extract<QueueEffect, { do: 'removeJob' }>): Promise<'removed' | RefusalError> {
    const job = await find({ jobId, scope })
    if (job instanceof RefusalError) return job
    await removeFiles(job)
    return 'removed'
  }

  /** Never rejects: one of which something cannot be removed keeps no other one. */
  async function expireJobs(jobIds: readonly JobId[]): Promise<ExpireAnswer> {
    const gone: JobId[] = []
    let failed: Pick<ExpireAnswer, 'error'> = {}
    for (const jobId of jobIds) {
      try {
        if (await expireJob(jobId)) gone.push(jobId)
      } catch (error) {
        failed = { error }
      }
    }
    return { gone, ...failed }
  }

  async function expireJob(jobId: JobId): Promise<boolean> {
    const job = await store.find(jobId, 'everything')
    if (!job || !mayExpire(job, await store.isAwaited(jobId))) return false
    const filename = presentFile(job)
    if (filename !== undefined && videoFiles.isInUse(filename)) return false
    await removeFiles(job)
    return true
  }

  async function removeFiles(job: Job): Promise<void> {
    const filename = presentFile(job)
    if (filename !== undefined) await videoFiles.remove({ jobId: job.id, filename })
    await workFiles.forget(job.id)
  }

  /** The job, or why there is none. */
  async function find({
    jobId,
    scope,
  }: Readonly<{ jobId: JobId; scope: Scope }>): Promise<Job | RefusalError> {
    const job = await store.find(jobId, scope)
    if (job) return job
    const expired = await store.findExpired({ jobId }, scope)
    return expired ? hasExpired(expired) : jobNotFound(jobId)
  }
}

/** The name of its file, if that is there. */
const presentFile = ({ state }: Job): string | undefined =>
  state.status === 'success' && state.fileDeletedAt === undefined ? state.filename : undefined

function webhookOf(
  jobId: JobId,
  { name: owner }: Client,
  { url, secret = newSecret(), words }: NonNullable<VideoDraft['webhook']>,
): NewWebhook {
  const createdAt = Date.now()
  const events = words === 'openai' ? openAiEvents : ownEvents
  return { id: newWebhookId(), owner, jobId, url, events, createdAt, secret }
}

const randomSeed = (): number => randomInt(2 ** 32)
