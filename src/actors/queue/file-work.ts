/** What the queue does with files and the store before it decides, or after it has. */
import { type Client, callerOf } from '../../client.ts'
import { fingerprintOf } from '../../fingerprint.ts'
import type { JobId, VideoDraft } from '../../job.ts'
import { newSecret, newWebhookId, openAiEvents, ownEvents } from '../../webhook.ts'
import type { JobStore, NewWebhook, VideoFiles, WorkFiles } from '../ports.ts'
import type { DeletedVideo, QueueEffect } from './queue-protocol.ts'
import { lookBackMs, mayBeRepeated } from './repeat-rules.ts'

export type FileWorkOptions = Readonly<{
  store: JobStore
  videoFiles: VideoFiles
  workFiles: WorkFiles
}>

export function createFileWork({ store, videoFiles, workFiles }: FileWorkOptions) {
  return { prepare, removeVideos, removeJob }

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
  }: Extract<QueueEffect, { do: 'removeJob' }>): Promise<'removed' | 'unknown'> {
    const job = await store.find(jobId, scope)
    if (!job) return 'unknown'
    const { state } = job
    if (state.status === 'success' && state.fileDeletedAt === undefined) {
      await videoFiles.remove({ jobId, filename: state.filename })
    }
    await workFiles.forget(jobId)
    return 'removed'
  }
}

function webhookOf(
  jobId: JobId,
  { name: owner }: Client,
  { url, secret = newSecret(), words }: NonNullable<VideoDraft['webhook']>,
): NewWebhook {
  const createdAt = Date.now()
  const events = words === 'openai' ? openAiEvents : ownEvents
  return { id: newWebhookId(), owner, jobId, url, events, createdAt, secret }
}

const randomSeed = (): number => crypto.getRandomValues(new Uint32Array(1))[0] ?? 0
