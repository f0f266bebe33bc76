/** From the end of one generation to the begin of the next on the same GPU, while jobs wait. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { aDirectory, launchService, removeDirectory } from '../service.ts'
import type { Report } from './figures.ts'
import { measureGaps } from './gaps.ts'
import { allSucceed, submitAll } from './jobs.ts'
import { type NoopRun, noopDir, noopEnvironment, noopRequest, noopRuns, python } from './noop.ts'

const rounds = 3
const jobs = 30

export async function handover(say: (line: string) => void): Promise<Report> {
  const ways = {
    'bare loop of the same interpreter': bareLoop,
    'service, conversion copies (1280x704)': () => throughService('1280x704'),
    'service, conversion pads (1280x720)': () => throughService('1280x720'),
  }
  const rows = await measureGaps(ways, { rounds, jobs, say })
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
  const bodies = Array.from({ length: jobs }, (_, n) => noopRequest(size, n))
  await allSucceed(service, await submitAll(url, bodies))
  await service.stop()
  const runs = noopRuns(directory)
  removeDirectory(directory)
  return runs
}
