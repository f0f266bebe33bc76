/** Reads and files that a submission needs before the rules decide on it. */
import { randomInt } from 'node:crypto'
import { type Client, callerOf } from '../../domain/client.ts'
import { fingerprintOf } from '../../domain/fingerprint.ts'
import type { JobId, VideoDraft } from '../../domain/job.ts'
import { steadyNow, wallNow } from '../../domain/time.ts'
import type { NewWebhook } from '../../domain/webhook.ts'
import { newSecret, newWebhookId, openAiEvents, ownEvents } from '../../domain/webhook.ts'
import type { QueueEffect } from './queue-effects.ts'
import type { QueueStore, ResultFiles, WorkFiles } from './queue-ports.ts'
import { isNameKept } from './rules/name-rules.ts'
import { lookBackMs, mayBeRepeated } from './rules/repeat-rules.ts'

export type SubmissionWorkOptions = Readonly<{
  store: Pick<QueueStore, 'findSubmission' | 'isNamePromised'>
  results: ResultFiles
  workFiles: Pick<WorkFiles, 'keepImage'>
}>

export function createSubmissionWork({ store, results, workFiles }: SubmissionWorkOptions) {
  return { prepare }

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
      ? await store.findSubmission(identity, steadyNow() - lookBackMs(repetition))
      : undefined
    const { image: upload, webhook, seed = randomSeed(), ...rest } = draft
    const { filename } = rest
    const jobId = crypto.randomUUID() as JobId
    const nameTaken = filename !== undefined && (await isNameKept({ store, results }, filename))
    const toTell = webhook && { webhook: webhookOf(jobId, client, webhook) }
    const known = { jobId, client, identity, repetition, earlier, nameTaken, ...toTell }
    if (!upload || earlier) return { ...known, request: { ...rest, seed } }
    const { uploadId, ...image } = upload
    await workFiles.keepImage(jobId, uploadId)
    return { ...known, request: { ...rest, seed, image } }
  }
}

function webhookOf(
  jobId: JobId,
  { name: owner }: Client,
  { url, secret = newSecret(), words }: NonNullable<VideoDraft['webhook']>,
): NewWebhook {
  const createdAt = wallNow()
  const events = words === 'openai' ? openAiEvents : ownEvents
  const registeredBy = owner === null ? [] : [owner]
  return { id: newWebhookId(), owner, registeredBy, jobId, url, events, createdAt, secret }
}

const randomSeed = (): number => randomInt(2 ** 32)
