/** `make demo`: a video end to end through the real service, with simulated GPUs. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { JobJson } from '../src/http/views/job-view.ts'
import { simulatedEnvironment } from '../src/infra/installation/simulation.ts'

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

try {
  const url = await listening()
  console.log(`The service runs at ${url} with two simulated GPUs.`)
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

/** The address, from the log: the port is any that was free. */
function listening(): Promise<string> {
  return new Promise((resolve, reject) => {
    service.once('exit', () => reject(new Error('The service did not start.')))
    createInterface(service.stdout).on('line', (line) => {
      const { msg, url } = JSON.parse(line) as { msg: string; url: string }
      if (msg === 'listening') resolve(url)
    })
  })
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

async function probe(file: string): Promise<string> {
  const what = 'stream=codec_name,width,height,r_frame_rate,nb_frames:format=duration,size'
  const args = [
    '-v',
    'error',
    '-select_streams',
    'v:0',
    '-show_entries',
    what,
    '-of',
    'default=nw=1',
    file,
  ]
  const { stdout } = await promisify(execFile)('ffprobe', args)
  return stdout.trim()
}
