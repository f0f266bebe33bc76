/** `make demo`: a video end to end through the real service, with simulated GPUs. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import type { JobJson } from '../src/http/views/job-view.ts'
import { simulatedEnvironment } from '../src/infra/installation/simulation.ts'
import { probe } from './probe.ts'

const root = join(import.meta.dirname, '..')
const dataDir = join(root, 'data', 'demo')
const prompt = process.argv[2] ?? 'A red fox walks through fresh snow at sunrise'

const service = spawn(process.execPath, [join(root, 'dist', 'main.js')], {
  stdio: ['ignore', 'pipe', 'inherit'],
  env: {
    ...process.env,
    ...simulatedEnvironment(2, dataDir),
    PORT: '0',
  },
})

const lines = createInterface(service.stdout)
/** The template is used, could not be loaded, or its forks cannot use a GPU. */
const verdicts =
  /^(generations are forked from|there is no template|forks of a template|a fork of the template)/

try {
  const ready = loggedIn(15_000, verdicts)
  const { url = '' } = await Promise.race([
    logged(/^listening$/),
    once(service, 'exit').then(neverUp),
  ])
  console.log(`The service runs at ${url} with two simulated GPUs.`)
  if (process.env.WARM_START !== 'off') {
    const { msg = 'it takes long', why } = await ready
    const isWarm = msg.startsWith('generations')
    console.log(
      isWarm ? 'The model is loaded. Jobs start from it.' : `Jobs load it: ${why ?? msg}.`,
    )
  }
  const { id, eta_seconds } = await submit(url)
  console.log(`POST /generate answered: job ${id}, ready in about ${eta_seconds} s.\n`)
  const job = await follow(url, id)
  if (job.status !== 'success' || !job.filename) {
    throw new Error(`The job ended as ${job.status}: ${job.error?.message}`)
  }
  const file = join(dataDir, 'results', job.filename)
  console.log(`\n${await probe(file)}`)
  console.log(`\nYour video: ${relative(process.cwd(), file)}`)
} catch (error) {
  console.error(`\nThe demo failed. ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
} finally {
  service.kill('SIGTERM')
  if (service.exitCode === null && service.signalCode === null) await once(service, 'exit')
}

type LogLine = Readonly<{ msg?: string; url?: string; why?: string }>

/** The next line of the log with such a message. The address is in one: the port is any that was free. */
function logged(message: RegExp): Promise<LogLine> {
  return new Promise((resolve) => {
    lines.on('line', (text) => {
      const line = JSON.parse(text) as LogLine
      if (message.test(line.msg ?? '')) resolve(line)
    })
  })
}

function loggedIn(withinMs: number, message: RegExp): Promise<LogLine> {
  return Promise.race([logged(message), delay(withinMs, {}, { ref: false })])
}

function neverUp(): never {
  throw new Error('The service did not start.')
}

async function submit(url: string): Promise<{ id: string; eta_seconds: number }> {
  const response = await fetch(`${url}/generate`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ prompt, size: '1280x720' }),
  })
  if (response.status !== 202) throw new Error(await response.text())
  return (await response.json()) as { id: string; eta_seconds: number }
}

/** Polls as any client would, and shows it: as a bar in a terminal, else a line for each stage. */
async function follow(url: string, id: string): Promise<JobJson> {
  let shown = ''
  for (;;) {
    const response = await fetch(`${url}/status/${id}`)
    const job = (await response.json()) as JobJson
    const stage = job.stage ?? job.status
    if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${bar(job)}`)
    else if (stage !== shown) console.log(bar(job))
    shown = stage
    if (job.status !== 'queued' && job.status !== 'running') {
      if (process.stdout.isTTY) process.stdout.write('\n')
      return job
    }
    await delay(200)
  }
}

function bar({ status, stage, step, total_steps, progress, eta_seconds }: JobJson): string {
  const width = 30
  const filled = Math.round(progress * width)
  const steps = step === null ? '' : ` ${step}/${total_steps}`
  const left = eta_seconds === null ? '' : `, about ${eta_seconds} s left`
  const percent = String(Math.round(progress * 100)).padStart(3)
  return `${'█'.repeat(filled)}${'░'.repeat(width - filled)} ${percent} %  ${stage ?? status}${steps}${left}`
}
