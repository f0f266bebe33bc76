/**
 * Names and files in a world in which each read, write and removal may take any time, and both actors
 * may crash. fast-check generates the stories; the world (support/archive-world.ts) checks the rules.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createWorld, type Parts, type World } from '../../support/archive-world.ts'

const seed = 20_260_101
const numRuns = Number(process.env.ARCHIVE_MODEL_RUNS ?? 100)

type May = Parameters<Parameters<World['let']>[0]>[0]
type Happening = Readonly<{ phrase: string; happen(may: May): unknown }>

const name = fc.constantFrom('fox.mp4', 'FOX.mp4', 'owl.mp4')
const which = fc.nat(11)

const happening = fc.oneof(
  often(12, 'submit', fc.option(name, { nil: undefined, freq: 6 }), (may, one) => may.submit(one)),
  often(16, 'a generation ends', which, (may, one) => may.endGeneration(one)),
  often(16, 'a conversion ends', which, (may, one) => may.endConversion(one)),
  often(2, 'cancel', which, (may, one) => may.cancel(one)),
  often(5, 'remove', which, (may, one) => may.remove(one)),
  often(5, 'delete a video', name, (may, one) => may.deleteVideo(one)),
  often(4, 'delete all videos', fc.constant(0), (may) => may.deleteAllVideos()),
  often(4, 'expire', which, (may, one) => may.expire(one)),
  often(4, 'pin', fc.tuple(which, fc.boolean()), (may, one) => may.pin(...one)),
  often(60, 'the store works', fc.integer({ min: 1, max: 8 }), (may, one) => may.useStore(one)),
  often(16, 'the disk works', which, (may, one) => may.useFile(one)),
  often(4, 'a timer rings', fc.constant(0), (may) => may.ring()),
  often(1, 'the disk is full', fc.constant(0), (may) => may.fillDisk()),
  often(1, 'a commit is stale', fc.constant(0), (may) => may.refuseCommit()),
  often(2, 'somebody removes a file', which, (may, one) => may.loseFile(one)),
  often(2, 'somebody replaces a file', which, (may, one) => may.replaceFile(one)),
  often(2, 'a file is compared with its record', which, (may, one) => may.compare(one)),
  often(2, 'the service is killed', fc.constant(0), (may) => may.kill()),
  often(1, 'the queue crashes', fc.constant(0), (may) => may.crashQueue()),
  often(2, 'the archive crashes', fc.constant(0), (may) => may.crashArchive()),
)

const story = (parts: Parts = {}) =>
  fc.asyncProperty(
    fc.array(happening, { minLength: 20, maxLength: 160, size: 'max' }),
    async (happenings) => {
      const world = await createWorld(parts)
      try {
        for (const { happen } of happenings) await world.let(happen)
        await world.settle()
      } finally {
        await world.close()
      }
    },
  )

describe('a file', () => {
  it('belongs to one job, and exists as long as the record says so', async () => {
    await fc.assert(story(), { seed, numRuns })
  })
})

describe('the stories', () => {
  it.each<[what: string, parts: Parts]>([
    [
      'does not announce which files it deletes',
      {
        archiveStore: (store) => ({
          ...store,
          commit: async (operations) =>
            operations.some(({ op }) => op === 'announceRemoval')
              ? { how: 'committed' }
              : store.commit(operations),
        }),
      },
    ],
    [
      'forgets what was announced',
      { archiveStore: (store) => ({ ...store, announcedRemovals: async () => [] }) },
    ],
    [
      'never looks at the files of its records',
      { archiveStore: (store) => ({ ...store, recordedFiles: async () => [] }) },
    ],
    [
      'does not check whether a name is promised',
      { queueStore: (store) => ({ ...store, isNamePromised: async () => false }) },
    ],
  ])('find an archive or queue that %s', async (_what, parts) => {
    const { failed } = await fc.check(story(parts), { seed, numRuns, endOnFailure: true })
    expect(failed).toBe(true)
  })
})

function often<T>(
  weight: number,
  phrase: string,
  details: fc.Arbitrary<T>,
  happen: (may: May, detail: T) => unknown,
) {
  return {
    weight,
    arbitrary: details.map(
      (detail): Happening => ({
        phrase: `${phrase} (${fc.stringify(detail)})`,
        happen: (may) => happen(may, detail),
      }),
    ),
  }
}
