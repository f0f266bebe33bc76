import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type PastJob, recordPast } from '../../../bench/dashboard/record-past.ts'
import { aFailure, gpuId, midnight } from '../jobs.ts'
import { began, claim, error, finish, minute, submit } from './operations.ts'
import { type CreateStores, commit, type StoreOperation, useStores } from './stores.ts'

const from = midnight
const stepMs = 60_000
const steps = 10
const stretch = { from, stepMs, steps }
const to = from + steps * stepMs

const prompt = 'a fox'

/** One after the other on each GPU, begun before the stretch or in it, and over by its end. */
const pasts: fc.Arbitrary<PastJob[]> = fc
  .array(
    fc.record({
      gpu: fc.integer({ min: 0, max: 2 }),
      waits: fc.integer({ min: 0, max: 200_000 }),
      pause: fc.integer({ min: 0, max: 100_000 }),
      seconds: fc.integer({ min: 1, max: 200 }),
      fails: fc.boolean(),
    }),
    { maxLength: 25 },
  )
  .chain((runs) =>
    fc.array(fc.integer({ min: from - 100_000, max: to - 1 }), { maxLength: 5 }).map((waiting) => {
      const free = [0, 0, 0].map(() => from - 150_000)
      const done = runs.flatMap(({ gpu, waits, pause, seconds, fails }, index): PastJob[] => {
        const claimedAt = (free[gpu] ?? 0) + pause
        if (claimedAt + seconds * 1000 >= to) return []
        free[gpu] = claimedAt + seconds * 1000
        const failure = fails ? { failure: aFailure() } : {}
        const filename = `v${index}.mp4`
        return [
          {
            prompt,
            submittedAt: claimedAt - waits,
            run: { gpu, claimedAt, seconds, filename, ...failure },
          },
        ]
      })
      return [...done, ...waiting.map((submittedAt) => ({ prompt, submittedAt }))]
    }),
  )

/** Contract that every store of history fulfils. */
export function describeHistoryStore(name: string, createStores: CreateStores): void {
  describe(`the store of history on ${name}`, () => {
    const stores = useStores(createStores)

    describe('the past load', () => {
      it('is for each step what a count of the jobs by hand says', async () => {
        await fc.assert(
          fc.asyncProperty(pasts, async (jobs) => {
            const { jobs: recorded, eta, history, close } = await createStores()
            const load = recordPast({ jobs: recorded, eta }, jobs).then(() => history.load(stretch))
            const { waiting, busy } = await load.finally(close)
            for (let step = 0; step < steps; step++) {
              const end = from + (step + 1) * stepMs
              const waited = jobs.filter(
                ({ submittedAt, run }) => submittedAt < end && (!run || run.claimedAt >= end),
              )
              expect(waiting[step]).toBe(waited.length)
              for (const gpu of [0, 1, 2]) {
                const spans = jobs.flatMap(({ run }) => (run?.gpu === gpu ? [run] : []))
                const ms = spans.reduce((sum, { claimedAt, seconds }) => {
                  const generatedAt = Math.round(claimedAt + 0.97 * seconds * 1000)
                  return (
                    sum +
                    Math.max(0, Math.min(end, generatedAt) - Math.max(end - stepMs, claimedAt))
                  )
                }, 0)
                const shares = [...busy].find(([id]) => id === gpu)?.[1]
                expect(shares?.[step] ?? 0).toBeCloseTo(ms / stepMs, 6)
              }
            }
          }),
          { numRuns: 40 },
        )
      })

      it('of nothing is nothing', async () => {
        expect(await stores.history.load(stretch)).toEqual({
          waiting: Array(steps).fill(0),
          busy: new Map(),
        })
      })
    })

    describe('the cost of loading', () => {
      const span = { from, to }
      /** A run of 100 s, 12 s of which are loading. */
      const aRun = (n: number, run: Partial<PastJob['run'] & {}>): PastJob => ({
        prompt,
        submittedAt: from,
        run: { gpu: 0, claimedAt: from + n * 100_000, seconds: 100, filename: `${n}.mp4`, ...run },
      })
      const nothing = { starts: 0, ms: 0 }

      it('is told of cold and of warm starts, with what the warm ones would have taken cold', async () => {
        await recordPast(stores, [
          aRun(-3, { start: 'cold', seconds: 50 }), // over before
          aRun(0, { start: 'cold' }),
          aRun(1, { start: 'cold', failure: aFailure() }),
          aRun(2, { start: 'warm', seconds: 10 }),
          aRun(3, { start: 'warm', seconds: 20 }),
          aRun(4, {}),
        ])
        expect(await stores.history.loadingCost(span)).toEqual({
          cold: { starts: 2, ms: 24_000 },
          // The median of 6 s and 12 s for each.
          warm: { starts: 2, ms: 3_600, coldMs: 18_000 },
          coldRuns: 2,
          unknown: 1,
        })
      })

      it('counts only what lies in the time that is asked for', async () => {
        await recordPast(stores, [
          { ...aRun(0, { start: 'cold', claimedAt: from - 6_000 }), submittedAt: from - 9_000 },
          { ...aRun(0, { start: 'cold', gpu: 1, filename: 'b', claimedAt: from - 20_000 }) },
          aRun(9, { start: 'cold', gpu: 2, filename: 'c' }), // over after
        ])
        const { cold } = await stores.history.loadingCost({ from, to: to - 1 })
        expect(cold).toEqual({ starts: 1, ms: 6_000 })
      })

      it('has no comparison without cold runs of the same task', async () => {
        const other = stores.jobsWith({ task: 't2v-A14B', gpuModels: new Map() })
        await recordPast({ ...stores, jobs: other }, [aRun(0, { start: 'cold' })])
        const more = [aRun(1, { start: 'warm', seconds: 10 })]
        await recordPast(stores, more, { firstSeq: 2 })
        expect(await stores.history.loadingCost(span)).toEqual({
          cold: { starts: 1, ms: 12_000 },
          warm: { starts: 1, ms: 1_200 },
          coldRuns: 0,
          unknown: 0,
        })
      })

      it('is the whole time of a generation that ended while it loaded, if that is known', async () => {
        const ended = (n: number, source: 'events' | 'log'): StoreOperation[] => [
          claim(n, 1, { gpu: gpuId(n) }),
          { ...began(n), start: 'cold' } as StoreOperation,
          {
            ...finish(n, error),
            trace: { source, began: { loading: minute(2) } },
          } as StoreOperation,
        ]
        await commit(stores, [submit(1), submit(2), submit(3)])
        await commit(stores, [...ended(1, 'events'), ...ended(2, 'log'), claim(3), began(3)])
        expect(await stores.history.loadingCost({ from: minute(0), to: minute(10) })).toEqual({
          cold: { starts: 1, ms: 3 * 60_000 },
          warm: nothing,
          coldRuns: 0,
          unknown: 1,
        })
      })

      it('of nothing is nothing', async () => {
        expect(await stores.history.loadingCost(span)).toEqual({
          ...{ cold: nothing, warm: nothing, coldRuns: 0, unknown: 0 },
        })
      })
    })

    describe('past estimates', () => {
      const told = { p10: 50, p50: 60, p90: 70 }
      const aPast = (
        owner: string,
        filename: string,
        failure?: ReturnType<typeof aFailure>,
      ): PastJob => ({
        prompt,
        owner,
        submittedAt: from,
        run: {
          ...{ gpu: 0, claimedAt: from + 10_000 * filename.length, seconds: 1, filename, told },
          ...(failure && { failure }),
        },
      })

      it('are those of videos, latest first, with how long they took', async () => {
        const { ids } = await recordPast(stores, [
          aPast('ada', 'a.mp4'),
          aPast('bob', 'bb.mp4'),
          aPast('ada', 'ccc.mp4', aFailure()),
        ])
        const kept = await stores.history.estimates(10, 'everything')
        expect(kept).toEqual([
          { jobId: ids[1], at: from, ...told, actual: 61 },
          { jobId: ids[0], at: from, ...told, actual: 51 },
        ])
        expect(await stores.history.estimates(1, 'everything')).toHaveLength(1)
      })

      it('of others are not there for a client', async () => {
        const { ids } = await recordPast(stores, [aPast('ada', 'a.mp4'), aPast('bob', 'bb.mp4')])
        const jobIds = (await stores.history.estimates(10, { owner: 'ada' })).map(
          ({ jobId }) => jobId,
        )
        expect(jobIds).toEqual([ids[0]])
      })
    })
  })
}
