/**
 * `npm run upgrade -- --from COMMIT`: starts an earlier version with running, waiting and finished jobs, kills it, and
 * starts this version in the same data directory. Then that is killed while generations run that were forked from its
 * template, and started again. Every job must end as it would have, at its first attempt.
 *
 * `--installed DIRECTORY`: the earlier version, with its packages, instead of a commit.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { root } from '../src/config/root.ts'
import { simulateCheckpoint } from '../src/infra/installation/simulation.ts'
import { castOf, isFork } from './chaos/processes.ts'
import { checkOut } from './earlier-version.ts'
import { aDirectory, removeDirectory } from './service.ts'

type Status = Readonly<{ status: string; attempt: number; file_url: string | null }>

const { values } = parseArgs({
  options: { from: { type: 'string', default: 'HEAD' }, installed: { type: 'string' } },
})

const say = (line: string) => process.stdout.write(`${line}\n`)

const checkout = values.installed === undefined ? checkOut(values.from) : undefined
const earlier = values.installed ?? checkout?.path ?? ''
if (checkout) say(`installed ${checkout.title}`)
const dataDir = aDirectory()
let running: Running | undefined
let batches = 0
try {
  await check()
} finally {
  running?.child.kill('SIGKILL')
  spawnSync('pkill', ['-KILL', '-f', dataDir])
  checkout?.remove()
  removeDirectory(dataDir)
}

async function check(): Promise<void> {
  running = await start(earlier, { SIM_SPEED: '1000' })
  const finished = await submit(running, { filename: 'finished.mp4' })
  await until(async () => (await statusOf(running, finished)).status === 'success')
  await kill(running)

  running = await start(earlier, { SIM_SPEED: '20' })
  const jobs = await submitFour()
  await until(() => twoRun(jobs))
  say('two jobs run and two wait: the earlier version is killed')
  await kill(running)

  running = await start(root, { SIM_SPEED: '20' })
  say('this version has started in the same data directory')
  await until(() => allEnded(jobs))
  await until(async () => running?.isWarm() === true)
  const warm = await submitFour()
  await until(() => twoRun(warm))
  const forks = castOf(dataDir).generations.filter(isFork)
  say(`two jobs run and two wait, ${forks.length} of them as forks: this version is killed`)
  if (forks.length !== 2) throw new Error('they were not forked from the template')
  await kill(running)

  running = await start(root, { SIM_SPEED: '20' })
  say('this version has started again')
  await until(() => allEnded(warm))
  await until(async () => running?.isWarm() === true)
  const { templates } = castOf(dataDir)
  if (templates.length !== 1) throw new Error(`there are ${templates.length} templates`)
  const faults: string[] = []
  for (const id of [finished, ...jobs, ...warm]) {
    const { status, attempt, file_url } = await statusOf(running, id)
    const file = file_url && (await fetch(new URL(file_url, running.url)))
    say(`${id}: ${status} at attempt ${attempt}, ${file ? (await file.bytes()).length : 0} bytes`)
    if (status !== 'success' || attempt !== 1 || !file || !file.ok) faults.push(id)
  }
  if (faults.length > 0) throw new Error(`these jobs did not survive the upgrade: ${faults.join()}`)
  say('every job survived the upgrade, at its first attempt')
}

async function submitFour(): Promise<string[]> {
  batches += 1
  return [
    await submit(running, {}),
    await submit(running, { filename: `running-${batches}.mp4` }),
    await submit(running, {}),
    await submit(running, { filename: `waiting-${batches}.mp4` }),
  ]
}

async function twoRun(jobs: readonly string[]): Promise<boolean> {
  const states = await statesOf(jobs)
  return states.filter(({ status }) => status === 'running').length === 2
}

async function allEnded(jobs: readonly string[]): Promise<boolean> {
  const states = await statesOf(jobs)
  return states.every(({ status }) => ['success', 'error', 'canceled'].includes(status))
}

function statesOf(jobs: readonly string[]): Promise<Status[]> {
  return Promise.all(jobs.map((id) => statusOf(running, id)))
}

type Running = Awaited<ReturnType<typeof start>>

async function start(checkout: string, env: NodeJS.ProcessEnv) {
  const child = spawn(process.execPath, [join(checkout, 'src', 'main.ts')], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      PORT: '0',
      DATA_DIR: dataDir,
      GPU_IDS: '0,1',
      WAN_DIR: join(root, 'sim'),
      WAN_CKPT_DIR: simulateCheckpoint(join(dataDir, 'checkpoint')),
      MAX_CONCURRENT_LOADS: '8',
      MIN_FREE_DISK_MB: '0',
      ...env,
    },
  })
  let isWarm = false
  const url = await new Promise<string>((resolve, reject) => {
    child.once('exit', () => reject(new Error('the service did not start')))
    createInterface(child.stdout).on('line', (text) => {
      const { msg, url } = JSON.parse(text) as { msg: string; url?: string }
      if (msg === 'listening' && url) resolve(url)
      if (msg === 'generations are forked from the template') isWarm = true
    })
  })
  return { child, url, isWarm: () => isWarm }
}

async function kill({ child }: Running): Promise<void> {
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}

async function submit(service: Running | undefined, fields: object): Promise<string> {
  const response = await fetch(`${service?.url}/generate`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ prompt: 'a fox', size: '1280x720', frames: 5, steps: 10, ...fields }),
  })
  if (!response.ok) throw new Error(await response.text())
  return ((await response.json()) as { id: string }).id
}

async function statusOf(service: Running | undefined, id: string): Promise<Status> {
  return (await (await fetch(`${service?.url}/status/${id}`)).json()) as Status
}

async function until(isDone: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 120_000
  while (!(await isDone())) {
    if (performance.now() > deadline) throw new Error('it took longer than two minutes')
    await delay(50)
  }
}
