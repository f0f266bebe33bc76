/** How soon the service is there, and what it takes while there is nothing to do. */
import { setTimeout as delay } from 'node:timers/promises'
import { cpuOfTree } from '../process-cpu.ts'
import { aDirectory, launchService, removeDirectory } from '../service.ts'
import { median, ms, type Report, type Table } from './figures.ts'
import { until } from './wait.ts'

const starts = 7
const gpuCounts = [2, 8, 64]

/** `minutes` without work, after the starts. */
export async function rest(say: (line: string) => void, minutes: number): Promise<Report> {
  const started = await measureStarts(say)
  const idle = await measureRest(say, minutes * 60)
  return { how: `medians of ${starts} starts; ${minutes} min at rest`, tables: [started, idle] }
}

/** Each with an empty queue: on a new data directory, and on one that was in use before. */
async function measureStarts(say: (line: string) => void): Promise<Table> {
  const ways: Record<string, { env: NodeJS.ProcessEnv; isNew: boolean; took: Took[] }> = {
    'data directory in use before': { env: {}, isNew: false, took: [] },
    'new data directory': { env: {}, isNew: true, took: [] },
    'new data directory, nothing compiled before': {
      ...{ env: { NODE_COMPILE_CACHE: '' }, isNew: true, took: [] },
    },
  }
  const used = aDirectory()
  for (let start = 0; start <= starts; start++) {
    for (const [way, { env, isNew, took }] of Object.entries(ways)) {
      const directory = isNew ? aDirectory() : used
      const one = await timeStart(directory, env)
      if (isNew) removeDirectory(directory)
      // The first one writes what the others find.
      if (start === 0) continue
      took.push(one)
      say(`start ${start}: ${way}: ${ms(one.ready)}`)
    }
  }
  removeDirectory(used)
  const rows = Object.entries(ways).map(([way, { took }]) => [
    way,
    ms(median(took.map(({ listening }) => listening))),
    ms(median(took.map(({ ready }) => ready))),
  ])
  return { head: ['start', 'listening', 'ready'], rows }
}

type Took = Readonly<{ listening: number; ready: number }>

async function timeStart(directory: string, env: NodeJS.ProcessEnv): Promise<Took> {
  const begun = performance.now()
  const service = launchService(directory, env)
  const url = await service.listening()
  const listening = performance.now() - begun
  await until(async () => (await fetch(`${url}/ready`)).ok)
  const ready = performance.now() - begun
  await service.stop()
  return { listening, ready }
}

/** All at once, because at rest they do not disturb each other. The CPU time is that of all processes of a service. */
async function measureRest(say: (line: string) => void, idleSeconds: number): Promise<Table> {
  const services = gpuCounts.map((count) => {
    const directory = aDirectory()
    const ids = Array.from({ length: count }, (_, gpu) => gpu).join(',')
    return { count, directory, service: launchService(directory, { GPU_IDS: ids }) }
  })
  for (const { service } of services) await service.listening()
  // What a start leaves to be done is not rest.
  await delay(5_000)
  const before = services.map(({ service }) => cpuOfTree(service.child.pid ?? 0))
  await delay(idleSeconds * 1_000)
  const rows = services.map(({ count, service }, index) => {
    const share = (cpuOfTree(service.child.pid ?? 0) - (before[index] ?? 0)) / idleSeconds
    return [String(count), `${service.memory().toFixed(0)} MB`, `${(share * 100).toFixed(2)} %`]
  })
  for (const row of rows) say(`${row[0]} GPUs: ${row[1]}, ${row[2]}`)
  for (const { service, directory } of services) {
    await service.stop()
    removeDirectory(directory)
  }
  return {
    head: ['GPUs', 'resident memory at rest', 'CPU at rest, with the processes it starts'],
    rows,
  }
}
