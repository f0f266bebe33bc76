/** What a long queue costs: the same questions and changes with few and with very many jobs waiting. */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { writePast } from '../dashboard/past.ts'
import { aDirectory, type BenchService, launchService, removeDirectory } from '../service.ts'
import { send, submit } from './client.ts'
import { median, ms, quantile, type Report, type Table, times } from './figures.ts'
import { noopDir, noopEnvironment, noopRuns, python } from './noop.ts'
import { until } from './wait.ts'

const lengths = [10, 1_000, 100_000] as const
/** Taken in turns, so that a bad moment of the machine is everybody's. */
const rounds = 16
const perRound = 25
const boots = 3
const claimSeconds = 10

/** Both GPUs have something to do for as long as this takes: nothing is claimed meanwhile. */
const busy = { SIM_SPEED: '0.01', MAX_QUEUE: '1000000' }

type World = Readonly<{
  length: number
  directory: string
  ids: string[]
  took: Record<string, number[]>
}>

/** What is done to a service with a long queue; each answer is checked. */
const ways: Record<string, (url: string, world: World) => Promise<Response>> = {
  submit: async (url, { ids }) => {
    const response = await send(`${url}/generate`, 'POST', {
      prompt: `New ${randomUUID()}`,
      size: '1280x720',
    })
    ids.push(((await response.clone().json()) as { id: string }).id)
    return response
  },
  status: (url, { ids }) => send(`${url}/status/${anyOf(ids)}`),
  'list of 50': (url) => send(`${url}/jobs?status=queued&limit=50`),
  'lookup by prompt': (url, { length }) =>
    send(`${url}/jobs/lookup?prompt=${encodeURIComponent(promptOf(random(length)))}`),
  cancel: (url, { ids }) => send(`${url}/jobs?ids=${ids.pop()}`, 'DELETE'),
}

export async function scale(say: (line: string) => void): Promise<Report> {
  const worlds: World[] = []
  try {
    for (const length of lengths) {
      const directory = aDirectory()
      const jobs = Array.from({ length }, (_, n) => ({
        prompt: promptOf(n),
        submittedAt: Date.now(),
      }))
      const { ids } = await writePast(directory, jobs)
      worlds.push({ length, directory, ids: [...ids], took: {} })
      say(`${length} jobs are waiting`)
    }
    const booted = await boot(worlds, say)
    const memory = await measureAnswers(worlds, say)
    const claims = await measureClaims(worlds, say)
    return {
      how: `${rounds} rounds of ${perRound} of each, in turns, over one connection; ${boots} starts after kill -9; ${claimSeconds} s of generations that do nothing`,
      tables: [answersTable(worlds), restTable(worlds, { booted, memory, claims })],
    }
  } finally {
    for (const { directory } of worlds) removeDirectory(directory)
  }
}

/** From the start of the process to the first 200 of /ready, in milliseconds. */
async function boot(worlds: readonly World[], say: (line: string) => void): Promise<number[]> {
  const took = worlds.map((): number[] => [])
  for (let round = 0; round <= boots; round++) {
    for (const [index, { directory, length }] of worlds.entries()) {
      const begun = performance.now()
      const service = launchService(directory, busy)
      await isReady(await service.listening())
      // The first one is an orderly start; all others follow a kill.
      if (round > 0) took[index]?.push(performance.now() - begun)
      await service.crash()
      if (round > 0) say(`start ${round} with ${length} waiting: ${ms(took[index]?.at(-1) ?? 0)}`)
    }
  }
  return took.map(median)
}

/** In MB, after all the questions. */
async function measureAnswers(
  worlds: readonly World[],
  say: (line: string) => void,
): Promise<number[]> {
  const services: BenchService[] = worlds.map(({ directory }) => launchService(directory, busy))
  const urls = await Promise.all(services.map((service) => service.listening()))
  await Promise.all(urls.map(isReady))
  for (let round = 0; round <= rounds; round++) {
    for (const [way, act] of Object.entries(ways)) {
      for (const [index, world] of worlds.entries()) {
        for (let n = 0; n < perRound; n++) {
          const begun = performance.now()
          const response = await act(urls[index] ?? '', world)
          const took = performance.now() - begun
          if (!response.ok) throw new Error(`${way}: ${response.status}`)
          await response.arrayBuffer()
          // The first round is for the compiler.
          if (round > 0) world.took[way] = [...(world.took[way] ?? []), took]
        }
      }
    }
    if (round % 5 === 0) say(`round ${round} of ${rounds}`)
  }
  const memory = services.map((service) => service.memory())
  for (const service of services) await service.kill()
  return memory
}

/** How many generations begin in a second, one after the other on each of two GPUs. */
async function measureClaims(
  worlds: readonly World[],
  say: (line: string) => void,
): Promise<number[]> {
  const found: number[] = []
  for (const { directory, length } of worlds) {
    const noop = aDirectory()
    const environment = { ...noopEnvironment(noop), WAN_DIR: noopDir, WAN_PYTHON: python }
    const service = launchService(directory, { ...environment, MAX_QUEUE: '1000000' })
    const url = await service.listening()
    // Enough for all of the time, also where there were only few.
    for (let n = length; n < 300; n++) {
      await submit(url, { prompt: `More ${n}`, size: '1280x704', frames: 5 })
    }
    await delay(claimSeconds * 1_000)
    const begun = noopRuns(noop).length
    found.push(begun / claimSeconds)
    say(`${begun} generations in ${claimSeconds} s with ${length} waiting`)
    await service.kill()
    removeDirectory(noop)
  }
  return found
}

function answersTable(worlds: readonly World[]): Table {
  const rows = Object.keys(ways).map((way) => {
    const at = (share: number) => worlds.map(({ took }) => quantile(took[way] ?? [], share))
    const [few = 0, , many = 0] = at(0.99)
    return [way, ...at(0.5).map(ms), ...at(0.99).map(ms), times(many / few)]
  })
  const columns = ['p50', 'p99'].flatMap((p) =>
    lengths.map((n) => `${p}, ${n.toLocaleString('en')}`),
  )
  return { head: ['waiting jobs', ...columns, 'p99, most ÷ fewest'], rows }
}

function restTable(
  worlds: readonly World[],
  found: Readonly<{ booted: number[]; memory: number[]; claims: number[] }>,
): Table {
  const { booted, memory, claims } = found
  return {
    head: ['waiting jobs', ...worlds.map(({ length }) => length.toLocaleString('en'))],
    rows: [
      ['start to ready, after kill -9', ...booted.map((took) => `${(took / 1_000).toFixed(2)} s`)],
      ['resident memory, after all of the above', ...memory.map((mb) => `${mb.toFixed(0)} MB`)],
      ['generations begun in a second, 2 GPUs', ...claims.map((rate) => rate.toFixed(1))],
    ],
  }
}

const promptOf = (n: number) => `Waiting for a GPU, number ${n}: a fox in the snow`

const random = (below: number): number => Math.floor(Math.random() * below)

const anyOf = <T>(values: readonly T[]): T => values[random(values.length)] as T

const isReady = (url: string) => until(async () => (await fetch(`${url}/ready`)).ok)
