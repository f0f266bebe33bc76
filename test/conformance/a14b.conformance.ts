/** The tasks whose code only a checkout has. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { streamHash } from '../../bench/stream-hash.ts'
import { stages } from '../../src/domain/job.ts'
import { aPicture } from '../support/pictures.ts'
import { aDataDirectory, createShared } from '../support/service.ts'
import { prepared } from './settings.ts'
import { variants } from './variants.ts'
import { short, startWan, type World } from './world.ts'

const prompt = 'A red fox in the snow'
const size = '1280x720'

describe.skipIf(!prepared().isCheckout).each(['t2v-A14B', 'i2v-A14B'] as const)('%s', (task) => {
  const shared = createShared()
  const worlds: World[] = []
  const jobs: string[] = []
  beforeAll(async () => {
    const image = aPicture(aDataDirectory(shared.atEnd), 'landscape.png', size)
    for (const { env, isWarm } of variants) {
      const world = await startWan(shared.atEnd, task, { GPU_IDS: '0', ...env })
      if (isWarm) await world.hasTemplate()
      worlds.push(world)
      jobs.push(await world.submit({ prompt, size, ...(task === 'i2v-A14B' && { image }) }))
    }
  })
  afterAll(shared.clearAway)

  it.each(variants.map(({ name }, index) => ({ name, index })))(
    'makes a video $name, with all stages and steps',
    async ({ index }) => {
      const [world, id] = [worlds[index] as World, jobs[index] as string]
      const job = await world.until(id)
      expect(job, JSON.stringify(job.error)).toMatchObject({
        status: 'success',
        file: { width: 1280, height: 720, frames: short.frames },
      })
      const [attempt] = (await world.details(id)).attempts
      expect(attempt?.stages.map(({ stage }) => stage)).toEqual(stages)
      expect(attempt?.seconds_per_step).toBeGreaterThan(0)
      expect(await world.log(id)).toContain(`${short.steps}/${short.steps} [`)
    },
  )

  it('makes the same bytes every way', async () => {
    const hashes = worlds.map(async (world, index) =>
      streamHash(world.fileOf(await world.until(jobs[index] as string))),
    )
    expect(new Set(await Promise.all(hashes)).size).toBe(1)
  })
})
