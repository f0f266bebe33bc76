import fc from 'fast-check'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { newJournal, type QueueMail } from '../../../src/actors/queue/journal/journal-state.ts'
import { createJournal } from '../../../src/actors/queue/journal/queue-journal.ts'
import { type RunningJob, RunningJobs } from '../../../src/actors/queue/running-jobs.ts'
import {
  aQueuedJob,
  aRunningJob,
  gpu0,
  gpu1,
  gpuId,
  jobId,
  midnight,
  queueSettings,
} from '../../support/jobs.ts'

const gpus = [0, 1, 2, 3, 4].map(gpuId)
const former = gpuId(5)

type Change = Readonly<{ n: number } & Partial<Pick<RunningJob, 'gpu' | 'phase' | 'reading'>>>

const change: fc.Arbitrary<Change & { isLoadOverdue: boolean; isGone: boolean }> = fc.record({
  n: fc.integer({ min: 1, max: 30 }),
  gpu: fc.constantFrom(...gpus, former),
  phase: fc.constantFrom('generating', 'converting'),
  reading: fc.constantFrom({ stage: 'loading' } as const, { stage: 'denoising' } as const),
  isLoadOverdue: fc.boolean(),
  isGone: fc.boolean(),
})
const changes = fc.array(change, { maxLength: 100, size: 'max' })

/** At most one generation is on a GPU, as the store has it. */
function apply(
  jobs: ReadonlyMap<number, RunningJob>,
  one: typeof change extends fc.Arbitrary<infer T> ? T : never,
) {
  const { n, isGone, isLoadOverdue, ...rest } = one
  const next = new Map(jobs)
  next.delete(n)
  const isTaken = [...next.values()].some(
    ({ gpu, phase }) => phase === 'generating' && gpu === rest.gpu,
  )
  if (isGone || (isTaken && rest.phase === 'generating')) return next
  return next.set(n, { ...aJob(n), ...rest, ...(isLoadOverdue && { isLoadOverdue }) } as RunningJob)
}

const aJob = (n: number) => ({ jobId: jobId(n), seq: n }) as RunningJob

describe('the running jobs', () => {
  it('are found by id and by GPU, and counted, as in a plain list', () => {
    fc.assert(
      fc.property(changes, changes, (first, later) => {
        let plain: ReadonlyMap<number, RunningJob> = new Map()
        let running = RunningJobs.of([], gpus)
        const follow = (one: (typeof first)[number]) => {
          const next = apply(plain, one)
          const job = next.get(one.n)
          running = job ? running.set(job) : running.delete(jobId(one.n))
          plain = next
        }
        first.forEach(follow)
        const before = { plain, running }
        later.forEach(follow)

        const jobs = [...plain.values()].sort((a, b) => a.seq - b.seq)
        expect([...running.values()]).toEqual(jobs)
        expect(running.size).toBe(jobs.length)
        const generating = jobs.filter(({ phase }) => phase === 'generating')
        for (const gpu of [...gpus, former])
          expect(running.on(gpu)).toBe(generating.find((job) => job.gpu === gpu))
        expect([...running.idleGpus()]).toEqual(
          gpus.filter((gpu) => !generating.some((job) => job.gpu === gpu)),
        )
        const loads = generating.filter(
          ({ reading, isLoadOverdue }) => reading?.stage === 'loading' && !isLoadOverdue,
        )
        expect([...running.loads()]).toEqual(loads.map(({ gpu }) => gpu))
        expect([...running.conversions()]).toEqual(
          jobs.filter(({ phase }) => phase === 'converting').map(({ gpu }) => gpu),
        )
        expect(running.changedSince(before.running)).toEqual(
          jobs.filter((job) => before.plain.get(job.seq) !== job),
        )
        expect(running.goneSince(before.running).map(({ seq }) => seq)).toEqual(
          [...before.plain.keys()].filter((n) => !plain.has(n)).sort((a, b) => a - b),
        )
      }),
    )
  })
})

describe('a reading of a generation that has loaded', () => {
  it('is handled without a look at any other job or GPU', () => {
    const { receive, settle } = createJournal({ settings: queueSettings })
    let [journal] = newJournal
    const tell = (mail: QueueMail) => {
      const [next, effects] = receive(journal, mail, midnight)
      const [settled, more] = settle(next)
      journal = settled
      return [...effects, ...more]
    }
    tell({
      type: 'loaded',
      stored: {
        ...{
          nextSeq: 10,
          gpus: new Map(),
          drainedNodes: new Set(),
          lost: [],
          submissions: [],
          waiting: [aQueuedJob(9)],
        },
        running: [aRunningJob(1), aRunningJob(2, { gpu: gpu1 })],
      },
    })
    const read = (step: number) =>
      tell({
        type: 'generationReported',
        ...{ gpu: gpu0, jobId: jobId(1), epoch: 1 },
        reading: { stage: 'denoising', step, totalSteps: 50 },
      })
    read(1)
    const looks = (['values', 'idleGpus', 'loads'] as const).map((look) =>
      vi.spyOn(RunningJobs.prototype, look),
    )
    onTestFinished(() => void vi.restoreAllMocks())
    const told = read(2)
    for (const look of looks) expect(look).not.toHaveBeenCalled()
    expect(told).toContainEqual({
      do: 'tellChanges',
      changes: new Map([[jobId(1), 'step']]),
    })
  })
})
