import { describe, expect, it } from 'vitest'
import type { PastAttempt } from '../../../src/actors/eta/eta-ports.ts'
import type { Checkpoint, ToldEstimate } from '../../../src/domain/estimate.ts'
import type { GenerationStartKind, GpuId } from '../../../src/domain/job.ts'
import { aRequest, gpu0, gpu1, jobId } from '../jobs.ts'
import {
  began,
  claim,
  error,
  finish,
  generated,
  minute,
  release,
  submit,
  success,
} from './operations.ts'
import { type CreateStores, commit, type StoreOperation, useStores } from './stores.ts'

/** Contract that every store of estimates fulfils. */
export function describeEtaStore(name: string, createStores: CreateStores): void {
  describe(`the store of estimates on ${name}`, () => {
    const stores = useStores(createStores)

    describe('what is remembered of speed', () => {
      it('is the latest successes of each GPU, oldest first', async () => {
        await commit(stores, [
          ...lasting(1, gpu0, 100, 1),
          ...lasting(2, gpu1, 500, 5),
          ...lasting(3, gpu0, 200, 2),
          ...lasting(4, gpu0, 300, 3),
          ...[submit(5), claim(5), began(5), finish(5, error)],
        ])
        expect((await stores.eta.recent(2)).map(lengths)).toEqual([
          [gpu1, 500, 5],
          [gpu0, 200, 2],
          [gpu0, 300, 3],
        ])
        expect(await stores.eta.recent(50)).toHaveLength(4)
      })

      it('counts of a job that was tried twice only the try that went well', async () => {
        await commit(stores, [submit(1), claim(1), release(1)])
        await commit(stores, [claim(1, 2), began(1, 2), generated(1, 2), finish(1, success, 2)])
        expect((await stores.eta.recent(50)).map(lengths)).toEqual([[gpu0, 120, 60]])
      })

      it('says of what kind the video and the GPU were, and where the time went', async () => {
        const context = { task: 'ti2v-5B', gpuModels: new Map([[gpu0, 'NVIDIA H100']]) }
        const marks = { loading: minute(1), denoising: minute(2) }
        const trace = { source: 'events', began: marks, peakVramBytes: 1e9 } as const
        const known = stores.jobsWith(context)
        await commit({ jobs: known }, [
          submit(1),
          claim(1),
          began(1),
          { ...generated(1), trace } as StoreOperation,
        ])
        await commit({ jobs: known }, [finish(1, success)])
        const { size, frames, steps } = aRequest()
        expect(await stores.eta.recent(50)).toMatchObject([
          { gpu: gpu0, gpuModel: 'NVIDIA H100', shape: { size, frames, steps }, began: marks },
        ])
        expect((await known.attempts(jobId(1))).at(-1)).toMatchObject({ trace })
      })

      it('remembers cold starts over warm ones, and takes those of earlier versions for cold', async () => {
        const started = ['cold', undefined, 'warm', 'warm', 'warm'] as const
        for (const [index, start] of started.entries()) {
          await commit(stores, lasting(index + 1, gpu0, 100 * (index + 1), 1, start))
        }
        const recent = await stores.eta.recent(2)
        expect(recent.map(({ start, ...past }) => [start, lengths(past)[1]])).toEqual([
          ['cold', 100],
          [undefined, 200],
          ['warm', 400],
          ['warm', 500],
        ])
      })

      it('is of the same task', async () => {
        const other = { task: 't2v-A14B', gpuModels: new Map() }
        await commit({ jobs: stores.jobsWith(other) }, lasting(1, gpu0, 100, 1))
        await commit(stores, lasting(2, gpu0, 200, 1))
        expect((await stores.eta.recent(50)).map(lengths)).toEqual([[gpu0, 200, 1]])
      })

      const lengths = ({ gpu, claimedAt, generatedAt, endedAt }: Omit<PastAttempt, 'start'>) => [
        gpu,
        (generatedAt - claimedAt) / 1000,
        (endedAt - generatedAt) / 1000,
      ]

      /** Job `n` at `n` o'clock. */
      function lasting(
        n: number,
        gpu: GpuId,
        generationSeconds: number,
        conversionSeconds: number,
        start?: GenerationStartKind,
      ) {
        const claimedAt = minute(60 * n)
        const generatedAt = claimedAt + 1000 * generationSeconds
        return [
          submit(n),
          { ...claim(n, 1, { gpu }), at: claimedAt },
          ...(start ? [{ ...began(n), start } as StoreOperation] : []),
          { ...generated(n), at: generatedAt },
          finish(n, success, 1, generatedAt + 1000 * conversionSeconds),
        ]
      }
    })

    describe('what is remembered of estimates', () => {
      const told = (n: number, checkpoint: Checkpoint, at: number): ToldEstimate => ({
        ...{ jobId: jobId(n), checkpoint, at, source: 'history' },
        ...{ p10: 50, p50: 60, p90: 70, spread: 0.1 },
      })

      it('is held against when the video was there, of jobs that needed one attempt', async () => {
        await commit(stores, [submit(1), claim(1), began(1), generated(1), finish(1, success)])
        await commit(stores, [submit(2), claim(2), began(2), finish(2, error)])
        await commit(stores, [submit(3), claim(3), release(3)])
        await commit(stores, [claim(3, 2), began(3, 2), generated(3, 2), finish(3, success, 2)])
        const [job] = await stores.jobs.findMany([jobId(1)], 'everything')
        const endedAt = job?.state.status === 'success' ? job.state.endedAt : 0
        await stores.eta.record([
          told(1, 'submit', endedAt - 90_000),
          told(1, '50', endedAt - 30_000),
          ...[told(2, 'submit', 1), told(3, 'submit', 1)],
        ])
        const outcomes = await stores.eta.outcomes(10)
        expect(outcomes.map(({ checkpoint, actual }) => [checkpoint, actual])).toEqual(
          expect.arrayContaining([
            ['submit', 90],
            ['50', 30],
          ]),
        )
        expect(outcomes).toHaveLength(2)
        expect(outcomes[0]).toMatchObject({ gpu: gpu0, p10: 50, p50: 60, p90: 70, spread: 0.1 })
      })

      it('is the first that was told at each checkpoint', async () => {
        await commit(stores, [submit(1), claim(1), began(1), generated(1), finish(1, success)])
        await stores.eta.record([told(1, 'submit', 1_000)])
        await stores.eta.record([{ ...told(1, 'submit', 2_000), p50: 99 }])
        expect((await stores.eta.outcomes(10)).map(({ p50 }) => p50)).toEqual([60])
      })
    })
  })
}
