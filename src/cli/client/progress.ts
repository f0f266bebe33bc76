/** How far a job is: one line that changes in a terminal, else a line for each stage. */
import { createLogUpdate } from 'log-update'
import type { Job } from '../../http/typed-client.ts'
import { say } from '../terminal/output.ts'
import { duration, plain } from '../terminal/text.ts'
import type { Sighting } from './follow.ts'

export type Progress = Readonly<{ see(sighting: Sighting): void; end(): void }>

/** Between two looks at the clock: what is left grows less while nothing is told. */
const tickMs = 1_000

export const createProgress = (): Progress =>
  process.stderr.isTTY && process.env.TERM !== 'dumb' ? createBar() : createLines()

function createBar(): Progress {
  const draw = createLogUpdate(process.stderr)
  let told: { job: Job; at: number } | undefined
  let lost: string | undefined
  const redraw = () => {
    const bar = told && barText(told.job, (performance.now() - told.at) / 1000)
    draw([bar, lost].filter(Boolean).join('\n'))
  }
  const ticks = setInterval(redraw, tickMs)
  return {
    see(sighting) {
      if ('job' in sighting) told = { job: sighting.job, at: performance.now() }
      lost = 'job' in sighting ? undefined : lostText(sighting)
      redraw()
    },
    end() {
      clearInterval(ticks)
      draw.done()
    },
  }
}

function createLines(): Progress {
  let said = ''
  return {
    see(sighting) {
      const key = 'job' in sighting ? stageOf(sighting.job) : sighting.event
      if (key === said) return
      said = key
      say('job' in sighting ? lineText(sighting.job) : lostText(sighting))
    },
    end() {},
  }
}

const barWidth = 30

function barText(job: Job, age: number): string {
  const filled = Math.round(job.progress * barWidth)
  const bar = `${'█'.repeat(filled)}${'░'.repeat(barWidth - filled)}`
  const percent = String(Math.floor(job.progress * 100)).padStart(3)
  return [`${bar} ${percent} %`, stageText(job), etaText(job, age)].filter(Boolean).join('  ')
}

const lineText = (job: Job): string => [stageText(job), etaText(job, 0)].filter(Boolean).join(', ')

const lostText = ({ why }: Extract<Sighting, { event: 'lost' }>): string =>
  `${why} Waiting for it: the job is not lost.`

const stageOf = ({ status, stage }: Job): string => stage ?? status

/** "denoising 17/50 on GPU 1", "queued, place 2". */
export function stageText(job: Job): string {
  const { step, total_steps, gpu_id } = job
  const steps = step === null ? '' : ` ${step}/${total_steps}`
  const gpu = gpu_id === null || job.status !== 'running' ? '' : ` on GPU ${gpu_id}`
  return `${plain(stageOf(job))}${steps}${placeText(job)}${gpu}`
}

export const placeText = ({ queue_position: place }: Pick<Job, 'queue_position'>): string =>
  place === null ? '' : `, place ${place}`

type Eta = Pick<Job, 'eta_seconds' | 'eta_p10_seconds' | 'eta_p90_seconds'>

/** "about 3 min 20 s left (2 min 50 s to 4 min 10 s)", so many seconds after it was told. */
export function etaText(
  { eta_seconds: eta, eta_p10_seconds: early, eta_p90_seconds: late }: Eta,
  age: number,
): string {
  if (eta === null) return ''
  const left = (seconds: number) => duration(Math.max(1, seconds - age))
  const range = early === null || late === null ? '' : ` (${left(early)} to ${left(late)})`
  return `about ${left(eta)} left${range}`
}
