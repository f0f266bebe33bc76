/** From the first job handed in to the last one done, beside other queues that do the same work. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { aDirectory, removeDirectory } from '../service.ts'
import { median, ms, type Report, times } from './figures.ts'
import { noopRuns } from './noop.ts'
import { bullMq } from './queue/bullmq.ts'
import { type Contender, NotInstalled, type Opened } from './queue/contender.ts'
import { installPeers } from './queue/peers.ts'
import { pgBoss } from './queue/pg-boss.ts'
import { barePool, pool } from './queue/pool.ts'
import { service } from './queue/service.ts'
import { taskSpooler } from './queue/task-spooler.ts'

const rounds = 5
const jobsPerRound = 100
const jobs = rounds * jobsPerRound

const contenders = [service, bullMq, pgBoss, taskSpooler, pool, barePool]

type Entrant = Opened & Readonly<{ name: string; directory: string; rounds: Round[] }>

type Round = Readonly<{ seconds: number; cpuSeconds: number }>

export async function queue(say: (line: string) => void): Promise<Report> {
  installPeers()
  await using started = new AsyncDisposableStack()
  const entrants: Entrant[] = []
  const leftOut: string[] = []
  for (const contender of contenders) {
    const entrant = await enter(contender, started)
    if (typeof entrant !== 'string') entrants.push(entrant)
    else {
      leftOut.push(`${contender.name} is left out: ${entrant}`)
      say(`${contender.name}: ${entrant}`)
    }
  }
  for (let round = 0; round < rounds; round++) {
    for (const entrant of entrants) {
      const taken = await oneRound(entrant, round)
      entrant.rounds.push(taken)
      say(`round ${round + 1}: ${entrant.name}: ${taken.seconds.toFixed(1)} s`)
    }
  }
  return {
    how: [`${rounds} rounds of ${jobsPerRound} jobs, in turn`, ...leftOut].join('; '),
    tables: [{ head, rows: rowsOf(entrants) }],
  }
}

/** Or why it cannot take part. */
async function enter(
  { name, open }: Contender,
  started: AsyncDisposableStack,
): Promise<Entrant | string> {
  const directory = aDirectory()
  started.defer(() => removeDirectory(directory))
  try {
    const opened = await open(directory)
    started.defer(opened.close)
    return { ...opened, name, directory, rounds: [] }
  } catch (error) {
    if (error instanceof NotInstalled) return error.message
    throw error
  }
}

async function oneRound(entrant: Entrant, round: number): Promise<Round> {
  const first = round * jobsPerRound
  const numbers = Array.from({ length: jobsPerRound }, (_, index) => first + index)
  const begun = performance.now()
  const cpuBefore = entrant.cpu()
  await entrant.run(numbers)
  const seconds = (performance.now() - begun) / 1000
  const cpuSeconds = entrant.cpu() - cpuBefore
  check(entrant, first + jobsPerRound)
  return { seconds, cpuSeconds }
}

/** Each job has been done, and none of them twice. */
function check({ name, directory }: Entrant, expected: number): void {
  const generations = noopRuns(directory).length
  const videos = readdirSync(join(directory, 'results')).filter((file) => file.endsWith('.mp4'))
  if (generations === expected && videos.length === expected) return
  throw new Error(
    `${name}: ${generations} generations and ${videos.length} videos for ${expected} jobs`,
  )
}

const head = [`${jobs} jobs, two at a time`, 'all', 'a job', '÷ pool', 'CPU of the queue', 'with']

function rowsOf(entrants: readonly Entrant[]): string[][] {
  const aJob = ({ rounds }: Entrant) => median(rounds.map(({ seconds }) => seconds)) / jobsPerRound
  const cpuOfAJob = ({ rounds }: Entrant) =>
    median(rounds.map(({ cpuSeconds }) => cpuSeconds)) / jobsPerRound
  const floor = entrants.find(({ name }) => name === pool.name)
  return entrants.map((entrant) => {
    const all = entrant.rounds.reduce((sum, { seconds }) => sum + seconds, 0)
    const cpu = cpuOfAJob(entrant)
    return [
      entrant.name,
      `${all.toFixed(1)} s`,
      ms(aJob(entrant) * 1000),
      floor ? times(aJob(entrant) / aJob(floor)) : '–',
      Number.isNaN(cpu) ? '–' : `${ms(cpu * 1000)} a job`,
      entrant.what,
    ]
  })
}
