import type { Timestamp } from './job.ts'

/**
 * The uses of a GPU's time, as far as they are known. `blocked`: jobs wait, and it may have
 * none of them. `gap`: jobs wait, and it has none yet. `starting`: nothing was heard of the process yet.
 * `importing` is known only from the launcher; without it, that time is part of `loading`.
 */
export const gpuWorks = [
  'no_work',
  'blocked',
  'gap',
  'starting',
  'importing',
  'loading',
  'encoding',
  'denoising',
  'decoding',
  'saving',
] as const
export type GpuWork = (typeof gpuWorks)[number]

/** `since`: absent where it is known from now on only. */
export type GpuSpell = Readonly<{ work: GpuWork; since?: Timestamp }>

/** There is a generation on it. */
export const isBusy = (work: GpuWork): boolean =>
  work !== 'no_work' && work !== 'blocked' && work !== 'gap'
