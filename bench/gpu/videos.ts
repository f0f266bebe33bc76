/** The same requests, started cold and warm: their videos, and what each took. */
import { isDeepStrictEqual } from 'node:util'
import { streamHash } from '../stream-hash.ts'
import { type Checks, FailedError, type Found, NotDoneError } from './checks.ts'
import { type Freed, untilFreed, usedMiB } from './gpu-memory.ts'
import type { WanService, Wished } from './wan-service.ts'

/** The shortest that the service takes. Longer ones say no more about loading, and take time of all other checks. */
export const shortest = { frames: 5, steps: 4 } as const

const fox: Wished = { prompt: 'A red fox in the snow', seed: 7, ...shortest }
const otherFox: Wished = { ...fox, seed: 8 }

export type Video = Freed &
  Readonly<{
    hash: string
    /** By stage. */
    seconds: Readonly<Record<string, number>>
    peakBytes: number | null
  }>

export type ColdVideos = Readonly<{
  video: Video
  other: Video
  /** Whether one request gives one video on this GPU. Otherwise no videos can be compared. */
  isRepeatable: boolean
}>

export const coldNames = {
  first: 'cold: the first job',
  again: 'cold: the same request again',
  other: 'cold: another seed',
} as const

export const warmNames = {
  same: 'warm: the same request',
  other: 'warm: the other seed',
} as const

/** Makes one video, and waits until the GPU is free. `start`: how the generation has to be started. */
export async function makeVideo(
  service: WanService,
  gpu: number,
  wished: Wished,
  start: 'cold' | 'warm',
): Promise<Video> {
  const [before, startsBefore] = [await usedMiB(gpu), await service.starts()]
  const id = await service.submit(wished)
  const job = await service.until(id)
  if (job.status !== 'success') {
    throw new FailedError(`the job ended as ${job.status}: ${job.error?.message ?? ''}`)
  }
  const [attempt] = (await service.details(id)).attempts
  const stages = attempt?.stages ?? []
  const seconds = Object.fromEntries(stages.map(({ stage, seconds }) => [stage, seconds ?? 0]))
  const starts = await service.starts()
  const expected = { ...startsBefore, [start]: startsBefore[start] + 1 }
  if (!isDeepStrictEqual(starts, expected)) {
    const ways = JSON.stringify({ before: startsBefore, after: starts })
    throw new FailedError(`the generation was not started ${start} at once: ${ways}`, { seconds })
  }
  const freed = await untilFreed(gpu, before)
  const hash = streamHash(service.fileOf(job))
  return { hash, seconds, peakBytes: attempt?.peak_vram_bytes ?? null, ...freed }
}

/** Gives nothing if a job fails: no other check could be made with such an installation. */
export async function makeCold(
  checks: Checks,
  service: WanService,
  gpu: number,
): Promise<ColdVideos | undefined> {
  const make = (wished: Wished) => makeVideo(service, gpu, wished, 'cold')
  const first = await checks.check(coldNames.first, async () => foundVideo(await make(fox)))
  if (!first) {
    checks.leaveOut([coldNames.again, coldNames.other], 'the first job did not succeed')
    return undefined
  }
  let isRepeatable = false
  const again = await checks.check(coldNames.again, async () => {
    const video = await make(fox)
    isRepeatable = video.hash === first.hash
    if (isRepeatable) return foundVideo(video, 'the same video')
    throw new NotDoneError(
      `${described(video)}. It made another video of the same request: on this GPU no videos can be compared`,
    )
  })
  const other = await checks.check(coldNames.other, async () => {
    const video = await make(otherFox)
    // As when all numbers are NaN: then equal videos would prove nothing.
    if (video.hash === first.hash) throw new FailedError('it made the same video')
    return foundVideo(video, 'another video')
  })
  // The second has found the files in the page cache, as a template does.
  return other && { video: again ?? first, other, isRepeatable }
}

export async function makeWarm(
  checks: Checks,
  service: WanService,
  gpu: number,
  cold: ColdVideos,
): Promise<void> {
  for (const { name, wished, reference } of [
    { name: warmNames.same, wished: fox, reference: cold.video },
    { name: warmNames.other, wished: otherFox, reference: cold.other },
  ]) {
    await checks.check(name, async () => {
      const video = await makeVideo(service, gpu, wished, 'warm')
      const figures = { ...video, cold: reference }
      const took = `${described(video)} (cold: ${secondsOf(reference)})`
      if (video.hash === reference.hash) {
        return { detail: `${took}; the video equals that of the cold start`, figures, value: video }
      }
      if (cold.isRepeatable) {
        throw new FailedError(`${took}; the video differs from that of the cold start`, figures)
      }
      throw new NotDoneError(`${took}; the videos differ, as those of cold starts do on this GPU`)
    })
  }
}

const foundVideo = (video: Video, and?: string): Found<Video> => ({
  detail: and === undefined ? described(video) : `${described(video)}; ${and}`,
  figures: video,
  value: video,
})

/** In seconds by stage. */
export const secondsOf = ({ seconds }: Pick<Video, 'seconds'>): string =>
  Object.entries(seconds)
    .map(([stage, value]) => `${stage} ${value.toFixed(2)}`)
    .join(', ')

const described = (video: Video): string => {
  const peak = video.peakBytes === null ? '' : `, peak ${(video.peakBytes / 1e9).toFixed(1)} GB`
  return `${secondsOf(video)} s${peak}, ${video.usedMiB} MiB in use after it (${video.freedMs} ms)`
}
