/**
 * Two figures of reliability, measured on the real service with simulated GPUs:
 *
 *   node bench/reliability.ts boot          from the start to the first claim, with 10,000 jobs queued and 4 running
 *   node bench/reliability.ts crash-loop    what the other GPUs do while one GPU's actor crashes again and again
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { GpuId, JobId } from '../src/domain/job.ts'
import { migrateToLatest } from '../src/infra/store/migrate.ts'
import { openDatabase } from '../src/infra/store/sqlite/database.ts'
import { createJobStore } from '../src/infra/store/sqlite/sqlite-job-store.ts'
import type { StoreOperation } from '../src/infra/store/store-operations.ts'
import { aDirectory, launchService, removeDirectory } from './service.ts'

const [what] = process.argv.slice(2)
const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN

if (what === 'boot') await boot()
else if (what === 'crash-loop') await crashLoop()
else {
  console.error('Say which: boot or crash-loop.')
  process.exitCode = 1
}

async function boot(): Promise<void> {
  const times: number[] = []
  for (let run = 1; run <= 5; run++) {
    const dataDir = aDirectory()
    await fill(join(dataDir, 'state.db'), 10_000, 4)
    const begun = performance.now()
    const service = launchService(dataDir, { GPU_IDS: '0,1,2,3,4' })
    await service.logged(({ msg, status }) => msg === 'job status' && status === 'running')
    times.push(performance.now() - begun)
    await service.kill()
    removeDirectory(dataDir)
    console.log(`run ${run}: ${times.at(-1)?.toFixed(0)} ms`)
  }
  console.log(
    `start to first claim, 10,000 queued and 4 running: median ${median(times).toFixed(0)} ms`,
  )
}

/** Rows as the service itself writes them, four of them running when it died. */
async function fill(path: string, waiting: number, running: number): Promise<void> {
  const database = openDatabase(path)
  await migrateToLatest(database.db)
  const request = {
    prompt: 'a fox in the snow',
    size: '1280x720',
    frames: 5,
    steps: 4,
    seed: 1,
  } as const
  const operations: StoreOperation[] = []
  for (let seq = 1; seq <= waiting + running; seq++) {
    const jobId = crypto.randomUUID() as JobId
    operations.push({ op: 'submit', jobId, at: seq, seq, request, owner: null, address: null })
    if (seq > running) continue
    const gpu = (seq - 1) as GpuId
    operations.push({
      op: 'claim',
      jobId,
      at: seq,
      epoch: 1,
      attempt: 1,
      gpu,
      filename: `${seq}.mp4`,
    })
  }
  await createJobStore(database.db).commit(operations)
  await database.close()
}

/** Jobs done per minute on GPUs 1 and 2, in turn with and without crashes of GPU 0's actor. */
async function crashLoop(): Promise<void> {
  const seconds = 20
  const quiet: number[] = []
  const crashing: number[] = []
  for (let round = 1; round <= 3; round++) {
    quiet.push(await othersDo(seconds, false))
    crashing.push(await othersDo(seconds, true))
    console.log(
      `round ${round}: ${quiet.at(-1)} generations undisturbed, ${crashing.at(-1)} beside a crash loop`,
    )
  }
  const ratio = (100 * median(crashing)) / median(quiet)
  console.log(
    `throughput of the other GPUs beside a crash loop: ${ratio.toFixed(1)} % (median of 3 rounds of ${seconds} s)`,
  )
}

async function othersDo(seconds: number, crashes: boolean): Promise<number> {
  const dataDir = aDirectory()
  const service = launchService(dataDir, {
    GPU_IDS: '0,1,2',
    FAULT_INJECTION: '1',
    SIM_STEP: '0.2',
    MAX_CONVERSIONS: '1',
  })
  const url = await service.listening()
  const body = JSON.stringify({ prompt: 'a fox', size: '1280x720', frames: 5, steps: 5 })
  const headers = { 'Content-Type': 'application/json' }
  for (let n = 0; n < 10 * seconds; n++)
    await fetch(`${url}/generate`, { method: 'POST', headers, body })
  writeFileSync(join(dataDir, 'crash'), 'gpu-0')
  const until = performance.now() + seconds * 1000
  while (performance.now() < until) {
    if (crashes) service.child.kill('SIGUSR2')
    await delay(200)
  }
  await service.kill()
  const done = readFileSync(join(dataDir, 'journal'), 'utf8')
    .split('\n')
    .filter(
      (line) =>
        line.includes('"end"') && !line.includes('"gpu": "0"') && !line.includes('"gpu":"0"'),
    )
  removeDirectory(dataDir)
  return done.length
}
