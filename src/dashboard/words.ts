/** Numbers and states in words for people. */
import type { Gpu, Job } from '../http/typed-client.ts'

/** As long as it takes: `45 s`, `4 min`, `1 h 20 min`, `2 d 3 h`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds))
  if (whole < 90) return `${whole} s`
  const minutes = Math.round(whole / 60)
  if (minutes < 60) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  if (hours < 24) return joined(`${hours} h`, minutes % 60, 'min')
  return joined(`${Math.floor(hours / 24)} d`, hours % 24, 'h')
}

const joined = (more: string, less: number, unit: string): string =>
  less === 0 ? more : `${more} ${less} ${unit}`

/** To the tenth of a second, for what has been measured. */
export const exactDuration = (seconds: number): string =>
  seconds < 60 ? `${seconds.toFixed(1)} s` : duration(seconds)

/** `4–6 min`; `50 min – 1 h 10 min` where the two have nothing in common. */
export function durationRange(from: number, to: number): string {
  const most = duration(to)
  const [count, unit] = /^(\d+) (s|min)$/.exec(most)?.slice(1) ?? []
  if (count === undefined) return `${duration(from)} – ${most}`
  // What begins below a minute and ends in minutes is told in minutes.
  const least = Math.max(1, Math.round(unit === 's' ? from : from / 60))
  return least >= Number(count) ? most : `${least}–${most}`
}

export function ago(at: number, now: number): string {
  const seconds = (now - at) / 1000
  if (seconds < 10) return 'just now'
  return `${duration(seconds)} ago`
}

const sameDay = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
const otherDay = new Intl.DateTimeFormat(undefined, {
  ...{ month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' },
})
const inFull = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'long' })

export function clock(at: number, now: number): string {
  const isToday = new Date(at).toDateString() === new Date(now).toDateString()
  return (isToday ? sameDay : otherDay).format(at)
}

const toTheSecond = new Intl.DateTimeFormat(undefined, {
  ...{ hour: '2-digit', minute: '2-digit', second: '2-digit' },
})

export const exactClock = (at: number): string => toTheSecond.format(at)

export const fullTime = (at: number): string => inFull.format(at)

export function bytes(count: number): string {
  if (count < 1_000_000) return `${Math.max(1, Math.round(count / 1000))} kB`
  if (count < 1_000_000_000) return `${(count / 1_000_000).toFixed(1)} MB`
  return `${(count / 1_000_000_000).toFixed(1)} GB`
}

export const gib = (mib: number): string => `${(mib / 1024).toFixed(1)} GiB`

export const percent = (share: number): string => `${Math.round(share * 100)} %`

export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${count.toLocaleString()} ${count === 1 ? one : many}`

export const isPortrait = (size: Job['size']): boolean => size.startsWith('7')

export const sizeInWords = (size: Job['size']): string => size.replace('x', ' × ')

export const statusInWords: Readonly<Record<Job['status'], string>> = {
  queued: 'Waiting',
  running: 'Running',
  success: 'Finished',
  error: 'Failed',
  canceled: 'Canceled',
}

export const stageInWords: Readonly<Record<NonNullable<Job['stage']>, string>> = {
  loading: 'Loading the model',
  encoding: 'Reading the prompt',
  denoising: 'Denoising',
  decoding: 'Decoding',
  saving: 'Saving',
  converting: 'Converting',
}

export const gpuStateInWords: Readonly<Record<Gpu['state'], string>> = {
  idle: 'Idle',
  busy: 'Busy',
  draining: 'Draining',
  drained: 'Drained',
  quarantined: 'Quarantined',
  probing: 'On probation',
  down: 'Restarting',
  given_up: 'Given up',
}
