import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { median } from '../../bench/performance/figures.ts'
import { streamHash } from '../../bench/stream-hash.ts'
import { stages } from '../../src/domain/job.ts'
import { aPicture, pictureIn } from '../support/pictures.ts'
import { aDataDirectory, createShared, processesOf } from '../support/service.ts'
import { prepared } from './settings.ts'
import { variants } from './variants.ts'
import { figure, short, startWan, type Wished, type World } from './world.ts'

type Video = Readonly<{ name: string; wished: Wished; width: number; height: number }>

const files = createShared()
const pictures = aDataDirectory(files.atEnd)
afterAll(files.clearAway)

const videos: readonly Video[] = [
  { name: 'a text', wished: { prompt: 'A red fox in the snow' }, width: 1280, height: 704 },
  {
    name: 'a text, padded',
    wished: { prompt: 'A red fox in the snow', size: '1280x720' },
    width: 1280,
    height: 720,
  },
  {
    name: 'a text with a negative prompt',
    wished: { prompt: 'A red fox in the snow', negative_prompt: 'blurry, dark' },
    width: 1280,
    height: 704,
  },
  {
    name: 'an image',
    wished: {
      prompt: 'A red fox in the snow',
      size: '704x1280',
      image: aPicture(pictures, 'portrait.png', '704x1280'),
    },
    width: 704,
    height: 1280,
  },
]

/** In this order, among others that depend on settings. */
const launcherEvents = [
  ...['started', 'imported', 'text_encoder_begun', 'text_encoder_built', 'text_encoder_loaded'],
  ...['vae_begun', 'vae_loaded', 'dit_begun', 'dit_loaded', 'pipeline_ready'],
  ...['prompt_encoded', 'prompt_encoded', 'sampling', 'step', 'step', 'step', 'step', 'decoding'],
]

/** By the first variant that has made each video. */
const reference = new Map<Video, string>()

describe.each(variants)('ti2v-5B $name', ({ env, hasLauncher, isWarm = false }) => {
  const shared = createShared()
  const made = videos.filter(({ wished }) => hasLauncher || !wished.negative_prompt)
  const jobs = new Map<Video, string>()
  let world: World
  beforeAll(async () => {
    world = await startWan(shared.atEnd, 'ti2v-5B', env)
    if (isWarm) await world.hasTemplate()
    for (const video of made) jobs.set(video, await world.submit(video.wished))
  })
  afterAll(shared.clearAway)

  it.each(made)('makes a video of $name, with all stages and steps', async (video) => {
    const { width, height } = video
    const id = jobs.get(video) ?? ''
    const job = await world.until(id)
    expect(job, JSON.stringify(job.error)).toMatchObject({
      status: 'success',
      file: { width, height, frames: short.frames },
    })
    const [attempt] = (await world.details(id)).attempts
    expect(attempt?.stages.map(({ stage }) => stage)).toEqual(stages)
    for (const { stage, seconds } of attempt?.stages ?? []) {
      expect(seconds, stage).toBeGreaterThanOrEqual(0)
    }
    figure('loading', `${attempt?.stages[0]?.seconds} s`)
    expect(attempt?.seconds_per_step).toBeGreaterThan(0)
    expect(attempt?.command?.some((word) => word.endsWith('launcher.py'))).toBe(hasLauncher)

    const log = await world.log(id)
    expect(log).toContain('INFO: Creating WanTI2V pipeline.')
    expect(log).toContain(`${short.steps}/${short.steps} [`)
    expect(log).toContain('INFO: Finished.')
    expect(log).not.toContain('Traceback')
  })

  it('starts all of them in the same way', async () => {
    expect(await world.starts('warm')).toBe(isWarm ? made.length : 0)
    expect(await world.starts('cold')).toBe(isWarm ? 0 : made.length)
    expect(await world.starts('fallback')).toBe(0)
  })

  it.runIf(hasLauncher)('encodes what has been encoded before no more', async () => {
    const [cache, encoder] = [await world.encodings('cache'), await world.encodings('encoder')]
    expect(cache + encoder).toBe(2 * made.length)
    // Two texts and two negative prompts are different. The first two generations may run at once.
    expect(cache).toBeGreaterThanOrEqual(2 * made.length - 5)
  })

  it('pads 704 rows to 720', async () => {
    const [, padded] = videos
    const file = world.fileOf(await world.until(jobs.get(padded as Video) ?? ''))
    expect(pictureIn(file)).toEqual({ left: 0, top: 8, width: 1280, height: 704 })
  })

  it.each(made)('makes the same bytes of $name as every other way', async (video) => {
    const hash = streamHash(world.fileOf(await world.until(jobs.get(video) ?? '')))
    if (!reference.has(video)) reference.set(video, hash)
    expect(hash).toBe(reference.get(video))
  })
})

describe('a pipeline', () => {
  it('is ready much sooner after a warm start, one job at a time', async () => {
    const p50: Record<string, number> = {}
    for (const [start, jobs] of [['cold', 1] as const, ['warm', 5] as const]) {
      const shared = createShared()
      const env = { GPU_IDS: '0', WARM_START: start === 'warm' ? 'on' : 'off' }
      const world = await startWan(shared.atEnd, 'ti2v-5B', env)
      if (start === 'warm') await world.hasTemplate()
      const seconds: number[] = []
      for (let n = 0; n < jobs; n++) {
        const id = await world.submit({ prompt: 'A red fox in the snow' })
        expect(await world.until(id)).toMatchObject({ status: 'success' })
        const [attempt] = (await world.details(id)).attempts
        expect(attempt?.start).toBe(start)
        seconds.push(attempt?.stages[0]?.seconds ?? Number.NaN)
      }
      await shared.clearAway()
      p50[start] = median(seconds)
      figure(`${start}, from the order to a ready pipeline`, `${seconds.join(', ')} s`)
    }
    expect(p50.warm).toBeLessThan((p50.cold ?? 0) / 4)
  })
})

/** Our own script has an option for it. The original has none. */
describe.skipIf(prepared().isCheckout)('a negative prompt', () => {
  it('gives the same bytes as n_prompt of the pipeline', async () => {
    const video = videos.find(({ wished }) => wished.negative_prompt) as Video
    const { negative_prompt, ...wished } = video.wished
    const world = await startWan(onTestFinished, 'ti2v-5B', {
      ...variants[0]?.env,
      WAN_EXTRA_ARGS: JSON.stringify([`--negative_prompt=${negative_prompt}`]),
    })
    const job = await world.until(await world.submit(wished))
    expect(streamHash(world.fileOf(job))).toBe(reference.get(video))
  })
})

describe('the videos', () => {
  it('differ where the requests differ', () => {
    expect(new Set(reference.values()).size).toBe(videos.length)
  })
})

describe('a generation that does not end by itself', () => {
  const shared = createShared()
  let world: World
  let failing: string
  beforeAll(async () => {
    world = await startWan(shared.atEnd, 'ti2v-5B', { GRACE_MS: String(graceMs) })
    failing = await world.submit({ prompt: 'A fox [out of memory in the decode]' })
  })
  afterAll(shared.clearAway)

  const graceMs = 5_000

  const cancel = async (id: string) => {
    const begin = performance.now()
    const answer = await world.service.json(`/jobs?ids=${id}`, { method: 'DELETE' })
    const ms = performance.now() - begin
    expect(answer).toMatchObject({ canceled: [{ id, status: 'canceled' }] })
    expect(processesOf(id)).toEqual([])
    // SIGTERM was enough: SIGKILL follows after that time.
    expect(ms).toBeLessThan(graceMs)
    return ms
  }

  it('is canceled inside a step, and no process of it is left', async () => {
    const id = await world.submit({ prompt: 'A fox', steps: 60 })
    const job = await world.until(id, ({ step }) => (step ?? 0) >= 2)
    expect(job).toMatchObject({ status: 'running', stage: 'denoising' })
    const ms = await cancel(id)
    figure('cancel in the middle of a step, from request to answer', `${Math.round(ms)} ms`)
    const [attempt] = (await world.details(id)).attempts
    expect(attempt).toMatchObject({ outcome: 'canceled' })
    expect(attempt?.stages.at(-1)?.stage).toBe('denoising')
  })

  it('is canceled inside the decode, and no process of it is left', async () => {
    const id = await world.submit({ prompt: 'A fox', frames: 13 })
    await world.until(id, ({ stage }) => stage === 'decoding')
    const isInDecode = () => world.events(id).some(({ event }) => event === 'decoding')
    await vi.waitUntil(isInDecode, { timeout: 10_000 })
    const events = world.events(id)
    const ms = await cancel(id)
    figure('cancel in the middle of the decode, from request to answer', `${Math.round(ms)} ms`)
    expect((await world.details(id)).attempts[0]?.stages.at(-1)?.stage).toBe('decoding')

    expect(events.flatMap(({ why }) => why ?? [])).toEqual([])
    const known = events.filter(({ event }) => launcherEvents.includes(event))
    expect(known.map(({ event }) => event)).toEqual(launcherEvents)
    expect(events.flatMap(({ step }) => step ?? [])).toEqual([1, 2, 3, 4])
  })

  it('fails in the decode, and says so', async () => {
    const job = await world.until(failing)
    expect(job).toMatchObject({
      status: 'error',
      error: { code: 'out_of_memory', exit_code: 1 },
      file_url: null,
    })
    expect((await world.details(failing)).attempts[0]?.stages.at(-1)?.stage).toBe('decoding')
    const log = await world.log(failing)
    expect(log).toContain('torch.OutOfMemoryError: CUDA out of memory.')
    // In the traceback of the script there is nothing of the launcher.
    expect(log).toContain('Traceback')
    expect(log).not.toContain('wan_launcher')
  })
})
