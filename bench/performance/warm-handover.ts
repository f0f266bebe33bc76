/** From the end of one generation of the simulator to the first line of the next, forked from the template. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { simulateCheckpoint } from '../../src/infra/installation/simulation.ts'
import { aDirectory, removeDirectory } from '../service.ts'
import type { Report } from './figures.ts'
import { measureGaps, type Run } from './gaps.ts'
import { allSucceed, submitAll } from './jobs.ts'
import { python } from './noop.ts'
import { launchWith, runsIn, shortVideo, warmStarts } from './warm-service.ts'

const rounds = 3
const jobs = 30

export async function warmHandover(say: (line: string) => void): Promise<Report> {
  const ways = {
    'bare fork loop': () => forkLoop('each'),
    'bare fork loop, script compiled once': () => forkLoop('compiled'),
    'service, `WARM_START=on`': () => throughService('on'),
    'service, `WARM_START=off`': () => throughService('off'),
  }
  const rows = await measureGaps(ways, { rounds, jobs, say })
  return {
    how: `${rounds} rounds of ${jobs} jobs; medians of the rounds`,
    tables: [
      { head: ['end of a generation → first line of the next', 'p50', 'p99', '÷ bare'], rows },
    ],
  }
}

const script = new URL('fork_loop.py', import.meta.url).pathname
const simulator = join(import.meta.dirname, '../../sim')

async function forkLoop(how: 'each' | 'compiled'): Promise<Run[]> {
  const directory = aDirectory()
  const journal = join(directory, 'journal')
  const checkpoint = simulateCheckpoint(join(directory, 'checkpoint'))
  const env = { PATH: process.env.PATH, SIM_SPEED: '1000', SIM_JOURNAL: journal }
  const args = [script, String(jobs), join(directory, 'video.mp4'), checkpoint, how]
  const child = spawn(python, args, { cwd: simulator, env, stdio: 'ignore' })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`the fork loop has ended with ${code}`)
  const runs = runsIn(journal)
  removeDirectory(directory)
  return runs
}

async function throughService(start: 'on' | 'off'): Promise<Run[]> {
  const directory = aDirectory()
  const { service, url } = await launchWith(start, directory, { GPU_IDS: '0' })
  const bodies = Array.from({ length: jobs }, (_, n) => ({ ...shortVideo, prompt: `job ${n}` }))
  await allSucceed(service, await submitAll(url, bodies))
  const warm = await warmStarts(url)
  if (warm !== (start === 'on' ? jobs : 0)) throw new Error(`${warm} jobs were started warm`)
  await service.stop()
  const runs = runsIn(join(directory, 'journal'))
  removeDirectory(directory)
  return runs
}
