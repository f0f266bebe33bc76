import { afterAll, describe, expect, it } from 'vitest'
import { columns, type Evidence, judge } from '../../bench/chaos/oracle.ts'
import { needsPostgres, rowNames } from '../../bench/chaos/rows.ts'
import { clearAway, runRow } from '../../bench/chaos/run-row.ts'
import { postgresMissing } from '../../bench/postgres.ts'
import type { JobJson } from '../../src/http/views/job-view.ts'

/** The short form of `npm run chaos`; what is killed when is the same every time, timing aside. */
const options = {
  kills: 4,
  jobs: 1,
  pauseMs: 200,
  seed: 20,
  gpus: 2,
  cancels: 0.15,
  onPostgres: false,
  keep: false,
  say: () => {},
}
const killingMs = 6_000
/** A PostgreSQL server is started first, and the service waits for it after each kill. */
const killingPostgresMs = 20_000

const nothing = Object.fromEntries(columns.map((column) => [column, []]))

afterAll(clearAway)

describe('a service that is killed again and again', () => {
  it.each(rowNames.filter((row) => !needsPostgres(row) || postgresMissing() === undefined))(
    'loses, repeats and mixes up nothing: %s',
    { timeout: 150_000 },
    async (row) => {
      const until = Date.now() + (needsPostgres(row) ? killingPostgresMs : killingMs)
      const { kills, jobs, findings } = await runRow(row, { ...options, until })
      expect(kills).toBeGreaterThan(0)
      expect(jobs).toBeGreaterThan(0)
      expect(findings).toEqual(nothing)
    },
  )
})

describe('the judge of it', () => {
  it('finds nothing where nothing is wrong', () => {
    expect(judge(evidence())).toEqual(nothing)
  })

  const [first, second, third] = ['a', 'b', 'c'].map(jobOf)
  const killed = { jobId: 'a', attempt: 'a/0', gpu: '0', start: 10 }
  const again = { jobId: 'a', attempt: 'a/2', gpu: '0', start: 900, end: 950 }

  it.each<[string, Partial<Evidence>, object]>([
    [
      'a job that is unknown',
      { jobs: [second, third] as JobJson[], files: evidence().files.slice(1) },
      { lost: 1 },
    ],
    [
      'a job that never ends',
      {
        jobs: [first, second, { ...third, status: 'running' }] as JobJson[],
        files: evidence().files.slice(0, 2),
      },
      { lost: 1 },
    ],
    ['a success without its file', { files: evidence().files.slice(1) }, { lost: 1 }],
    ['a job that is done twice', { runs: [...evidence().runs, again] }, { 'done twice': 1 }],
    [
      'a job that is run again because nobody could know that it was done',
      { runs: [...evidence().runs, again], excused: new Set(['a/1']) },
      {},
    ],
    ['a request that made two jobs', { doubles: ['a is a, and then b'] }, { 'done twice': 1 }],
    ['a template without a service', { templates: ['7: python'] }, { 'templates left': 1 }],
    ['two generations seen together', { together: ['a/1 and b/1'] }, { 'two on one GPU': 1 }],
    [
      'a generation that begins before the end of another',
      { runs: [runOf('a', '0', 100, 200), runOf('b', '0', 150, 300), runOf('c', '0', 400, 500)] },
      { 'two on one GPU': 1 },
    ],
    [
      'a generation that begins while a killed one is still there',
      {
        runs: [killed, ...evidence().runs],
        lastAlive: new Map([['a/0', 110]]),
      },
      { 'two on one GPU': 1 },
    ],
    [
      'a job that is started before two others',
      { runs: [runOf('c', '0', 100, 200), runOf('a', '0', 300, 400), runOf('b', '1', 300, 400)] },
      { 'order broken': 1 },
    ],
    [
      'an error that was not the last word',
      {
        jobs: [{ ...first, status: 'error' }, second, third] as JobJson[],
        files: evidence().files.slice(1),
      },
      { 'wrong final state': 1 },
    ],
    [
      'a cancel that is forgotten',
      { orders: evidence().orders.map((order) => ({ ...order, cancel: 'promised' as const })) },
      { 'wrong final state': 3 },
    ],
    [
      'a lost node as the end of a job that nobody canceled',
      {
        jobs: [
          { ...first, status: 'error', error: { code: 'node_lost' } },
          second,
          third,
        ] as JobJson[],
        files: evidence().files.slice(1),
      },
      { 'wrong final state': 1 },
    ],
    [
      'a file of a job that is canceled',
      {
        orders: evidence().orders.map((order) => ({ ...order, cancel: 'asked' as const })),
        jobs: [{ ...first, status: 'canceled' }, second, third] as JobJson[],
      },
      { 'wrong final state': 1 },
    ],
    [
      'a file that is broken',
      {
        files: [
          { ...evidence().files[0], name: 'a.mp4', fault: 'moov' },
          ...evidence().files.slice(1),
        ],
      },
      { 'wrong final state': 1 },
    ],
  ])('sees %s', (_case, changes, expected) => {
    const findings = judge({ ...evidence(), ...changes })
    const counts = Object.entries(findings).map(([column, { length }]) => [column, length])
    expect(Object.fromEntries(counts.filter(([, count]) => count))).toEqual(expected)
  })
})

it('excuses a later start only where a kill may have hit an attempt unseen', () => {
  const runs = [
    runOf('c', '0', 100, 200),
    { ...runOf('a', '0', 300, 400), attempt: 'a/2' },
    runOf('b', '1', 300, 400),
  ]
  const jobs = evidence().jobs.map((job) => (job.id === 'a' ? { ...job, attempt: 2 } : job))
  const found = (killsUnseen: boolean) =>
    judge({ ...evidence(), runs, jobs, killsUnseen })['order broken']
  expect(found(true)).toEqual([])
  expect(found(false)).toHaveLength(1)
})

it('excuses a start after the end of its job only for an attempt that was taken from a lost node', () => {
  const late = { ...runOf('a', '1', 650, 700), attempt: 'a/0' }
  const runs = [...evidence().runs, late]
  const found = (overtaken: readonly string[]) =>
    judge({ ...evidence(), runs, overtaken: new Set(overtaken) })['done twice']
  expect(found([late.attempt])).toEqual([])
  expect(found([])).toHaveLength(1)
})

/** Three jobs, one after the other on one of two GPUs, and nothing wrong with them. */
function evidence(): Evidence {
  return {
    gpus: 2,
    frames: 5,
    maxAttempts: 50,
    orders: ['a', 'b', 'c'].map((id, index) => ({ number: index + 1, prompt: id, id })),
    runs: [runOf('a', '0', 100, 200), runOf('b', '0', 300, 400), runOf('c', '0', 500, 600)],
    jobs: ['a', 'b', 'c'].map(jobOf),
    flips: [],
    doubles: [],
    files: ['a', 'b', 'c'].map((jobId) => ({ name: `${jobId}.mp4`, jobId, frames: 5 })),
    lastAlive: new Map(),
    together: [],
    excused: new Set(),
    struck: new Set(),
    leftProcesses: [],
    templates: [],
    leftFiles: [],
    problems: [],
  }
}

function jobOf(id: string): JobJson {
  return { id, prompt: id, status: 'success', attempt: 1, filename: `${id}.mp4` } as JobJson
}

function runOf(jobId: string, gpu: string, start: number, end?: number) {
  return { jobId, attempt: `${jobId}/1`, gpu, start, ...(end && { end }) }
}
