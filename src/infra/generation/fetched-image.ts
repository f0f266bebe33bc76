/** The image of a job that any node of a cluster may run: fetched to the disk of the node that runs it. */
import { createHash, randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import type {
  AttemptOrder,
  GenerationHandle,
  GenerationObserver,
  GenerationRunner,
} from '../../actors/gpu/gpu-ports.ts'
import { DatabaseUnreachableError, messageOf } from '../../domain/errors.ts'
import { environmentFaultOf } from '../../domain/failures.ts'
import type { Failure, InputImage, JobId } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import { type DataDirectory, imageOf, jobDirectory } from '../disk/data-directory.ts'
import { sync } from '../disk/sync.ts'

export type FetchedImageOptions = Readonly<{
  data: Pick<DataDirectory, 'workDir'>
  /** Starts a generation whose image had to be fetched: the node may have been lost since the order. */
  startLate: GenerationRunner['start']
  /** Parts are numbered from 0. `undefined`: there is none. */
  fetchImagePart(jobId: JobId, part: number): Promise<Buffer | undefined>
  log: Logger
  retryMs?: number
  maxWaitMs?: number
}>

const defaultRetryMs = 1_000

/** Longer than a database server takes to start again. The GPU has no other work meanwhile. */
const defaultMaxWaitMs = 5 * 60_000

/**
 * Starts a generation when its image is on this disk. Waits for a database that does not respond, but not for ever: this
 * node may have the only line that is too slow.
 */
export function withFetchedImage(
  runner: GenerationRunner,
  options: FetchedImageOptions,
): GenerationRunner {
  return {
    start(order, observer) {
      const { image } = order.request
      if (!image || existsSync(imageOf(options.data, order.jobId))) {
        return runner.start(order, observer)
      }
      return fetchFirst({ order, image, observer }, options)
    },
    adopt: runner.adopt,
  }
}

type Start = Readonly<{ order: AttemptOrder; image: InputImage; observer: GenerationObserver }>

function fetchFirst(
  { order, image, observer }: Start,
  {
    data,
    startLate,
    fetchImagePart,
    log,
    retryMs = defaultRetryMs,
    maxWaitMs = defaultMaxWaitMs,
  }: FetchedImageOptions,
): GenerationHandle {
  const { jobId, epoch } = order
  const ending = new AbortController()
  const { signal } = ending
  const ended = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason))
  })
  // Nobody waits for it while the image is written.
  ended.catch(() => {})
  let isDetached = false
  let generation: GenerationHandle | undefined

  void bringImage().then((failure) => {
    if (isDetached) return
    if (signal.aborted) observer.ended({ how: 'neverBegan' })
    else if (failure) observer.ended({ how: 'failed', failure })
    else generation = startLate(order, observer)
  })

  return {
    stop(reason, graceMs) {
      if (generation) generation.stop(reason, graceMs)
      else ending.abort()
    },
    detach() {
      isDetached = true
      if (generation) generation.detach()
      else ending.abort()
    },
  }

  async function bringImage(): Promise<Failure | undefined> {
    try {
      const bytes = await fetchAll()
      if (!bytes) return { code: 'generation_failed', message: gone }
      if (hashOf(bytes) !== image.sha256) return { code: 'generation_failed', message: damaged }
      // It is not cut off, so that nothing is written after the end of the attempt.
      await writeImage(data, jobId, bytes)
      return undefined
    } catch (error) {
      const isUnreachable = error instanceof DatabaseUnreachableError
      const fault = isUnreachable ? 'environment_broken' : environmentFaultOf(error)
      const code = fault ?? 'generation_failed'
      return { code, message: `The image could not be brought to this node: ${messageOf(error)}` }
    }
  }

  async function fetchAll(): Promise<Buffer | undefined> {
    const parts: Buffer[] = []
    for (let length = 0; length < image.bytes; ) {
      const part = await fetchPatiently(parts.length)
      if (!part) return undefined
      parts.push(part)
      length += part.length
    }
    return Buffer.concat(parts)
  }

  async function fetchPatiently(part: number): Promise<Buffer | undefined> {
    const since = performance.now()
    for (let failures = 0; ; failures++) {
      try {
        return await Promise.race([fetchImagePart(jobId, part), ended])
      } catch (error) {
        if (!(error instanceof DatabaseUnreachableError)) throw error
        if (performance.now() - since > maxWaitMs) throw tooSlow(maxWaitMs, error)
        const phrase = 'the image of a job cannot be fetched for now; it is fetched again'
        if (failures === 0) log.warn({ jobId, epoch, part, err: error }, phrase)
        await delay(retryMs, undefined, { signal })
      }
    }
  }
}

const tooSlow = (ms: number, { message }: DatabaseUnreachableError): DatabaseUnreachableError =>
  new DatabaseUnreachableError(
    `no part of it has arrived for ${Math.round(ms / 1000)} s. ${message}`,
  )

const gone = 'The image of this job is not in the database any more. Submit the job again.'

const damaged =
  'The image in the database is not the one that was submitted with this job. Submit the job again.'

const hashOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

/** Whole or not at all, also if the power fails. */
async function writeImage(
  data: Pick<DataDirectory, 'workDir'>,
  jobId: JobId,
  bytes: Buffer,
): Promise<void> {
  const directory = jobDirectory(data, jobId)
  const path = imageOf(data, jobId)
  const unfinished = `${path}.${randomUUID()}`
  await mkdir(directory, { recursive: true })
  try {
    const file = await open(unfinished, 'wx')
    try {
      await file.writeFile(bytes)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(unfinished, path)
    await sync(directory)
    await sync(data.workDir)
  } catch (error) {
    await rm(unfinished, { force: true })
    throw error
  }
}
