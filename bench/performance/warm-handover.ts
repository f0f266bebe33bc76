/** From the end of one generation of the simulator to the first line of the next, forked from the template. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { simulateCheckpoint } from '../../src/infra/installation/simulation.ts'
import { aDirectory, removeDirectory } from '../service.ts'
import { median, ms, quantile, type Report, times } from './figures.ts'
import { python } from './noop.ts'
import {
  allSucceed,
  launchWith,
  runsIn,
  shortVideo,
  submitAll,
  warmStarts,
} from './warm-service.ts'

const rounds = 3
const jobs = 30
const bare = 'bare fork loop'

export async function warmHandover(say: (line: string) => void): Promise<Report> {
  const gaps: Record<string, number[][]> = {}
  const ways = {
    [bare]: () => forkLoop('each'),
    'bare fork loop, script compiled once': () => forkLoop('compiled'),
    'service, `WARM_START=on`': () => throughService('on'),
    'service, `WARM_START=off`': () => throughService('off'),
  }
  for (let round = 1; round <= rounds; round++) {
    for (const [way, measure] of Object.entries(ways)) {
      const found = gapsOf(await measure())
      gaps[way] = [...(gaps[way] ?? []), found]
      say(`round ${round}: ${way}: ${ms(median(found))}`)
    }
  }
  const floor = median((gaps[bare] ?? []).map(median))
  const rows = Object.entries(gaps).map(([way, found]) => {
    const p50 = median(found.map(median))
    return [way, ms(p50), ms(quantile(found.flat(), 0.99)), times(p50 / floor)]
  })
  return {
    how: `${rounds} rounds of ${jobs} jobs; medians of the rounds`,
    tables: [
      { head: ['end of a generation → first line of the next', 'p50', 'p99', '÷ bare'], rows },
    ],
  }
}

type Runs = ReturnType<typeof runsIn>

const script = new URL('fork_loop.py', import.meta.url).pathname
const simulator = join(import.meta.dirname, '../../sim')

async function forkLoop(how: 'each' | 'compiled'): Promise<Runs> {
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

async function throughService(start: 'on' | 'off'): Promise<Runs> {
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

/** Not the first ones: the queue was still filling. */
function gapsOf(runs: Runs): number[] {
  if (runs.length !== jobs) throw new Error(`${runs.length} generations instead of ${jobs}`)
  return runs.slice(5).map(({ began }, index) => began - (runs[index + 4]?.ended ?? began))
}
