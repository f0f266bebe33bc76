/** From the end of one generation to the begin of the next on the same GPU, while jobs wait. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { aDirectory, launchService, removeDirectory } from '../service.ts'
import { submit } from './client.ts'
import { median, ms, quantile, type Report, times } from './figures.ts'
import { type NoopRun, noopDir, noopEnvironment, noopRequest, noopRuns, python } from './noop.ts'

const rounds = 3
const jobs = 30

export async function handover(say: (line: string) => void): Promise<Report> {
  const gaps: Record<string, number[][]> = {}
  const ways = {
    'bare loop of the same interpreter': bareLoop,
    'service, conversion copies (1280x704)': () => throughService('1280x704'),
    'service, conversion pads (1280x720)': () => throughService('1280x720'),
  }
  for (let round = 1; round <= rounds; round++) {
    for (const [way, measure] of Object.entries(ways)) {
      const found = gapsOf(await measure())
      gaps[way] = [...(gaps[way] ?? []), found]
      say(`round ${round}: ${way}: ${ms(median(found))}`)
    }
  }
  const floor = median((gaps['bare loop of the same interpreter'] ?? []).map(median))
  const rows = Object.entries(gaps).map(([way, found]) => {
    const p50 = median(found.map(median))
    return [way, ms(p50), ms(quantile(found.flat(), 0.99)), times(p50 / floor)]
  })
  return {
    how: `${rounds} rounds of ${jobs} jobs; medians of the rounds`,
    tables: [{ head: ['end of a generation → begin of the next', 'p50', 'p99', '÷ bare'], rows }],
  }
}

async function bareLoop(): Promise<NoopRun[]> {
  const directory = aDirectory()
  const env = { PATH: process.env.PATH, ...noopEnvironment(directory) }
  const args = ['generate.py', '--save_file', `${directory}/video.mp4`]
  for (let n = 0; n < jobs; n++) {
    const child = spawn(python, args, { cwd: noopDir, env, stdio: 'ignore' })
    await once(child, 'exit')
  }
  const runs = noopRuns(directory)
  removeDirectory(directory)
  return runs
}

async function throughService(size: '1280x720' | '1280x704'): Promise<NoopRun[]> {
  const directory = aDirectory()
  const service = launchService(directory, {
    GPU_IDS: '0',
    WAN_DIR: noopDir,
    WAN_PYTHON: python,
    ...noopEnvironment(directory),
  })
  const url = await service.listening()
  const ids = await Promise.all(
    Array.from({ length: jobs }, (_, n) => submit(url, noopRequest(size, n))),
  )
  for (const id of ids) {
    await service.logged(({ msg, jobId, status }) => {
      if (jobId === id && status === 'error') throw new Error(`job ${id} failed`)
      return msg === 'job status' && jobId === id && status === 'success'
    })
  }
  await service.stop()
  const runs = noopRuns(directory)
  removeDirectory(directory)
  return runs
}

/** Only what was begun while others waited: not the first ones, for the queue was still filling. */
function gapsOf(runs: readonly NoopRun[]): number[] {
  if (runs.length !== jobs) throw new Error(`${runs.length} generations instead of ${jobs}`)
  const sorted = runs.toSorted((a, b) => a.began - b.began)
  return sorted.slice(5).map(({ began }, index) => began - (sorted[index + 4]?.ended ?? began))
}
