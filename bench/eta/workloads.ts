/** What jobs come when, and how long their stages really take: nothing of it is known to the service. */

import type { GpuId, Shape } from '../../src/domain/job.ts'
import type { Random } from '../chaos/random.ts'

/** Seconds of each stage of the usual video on the first GPU. */
export type Base = Readonly<{
  loading: number
  encoding: number
  step: number
  decoding: number
  saving: number
  converting: number
}>

export type Workload = Readonly<{
  name: string
  gpus: number
  base: Base
  jobs: number
  /** A job's moment, in seconds. */
  arrival(index: number, random: Random): number
  shape(random: Random): Shape
  /** How many times as long everything takes on this GPU at this moment. */
  slowness(gpu: GpuId, seconds: number): number
  /** Beyond the first of each start, which reads the model from disk. */
  coldFactor: number
  /** How a stage grows with frames; the service assumes 1. */
  frameExponent: number
  /** Standard deviations of the logarithm, from attempt to attempt. */
  noise: Readonly<{ stage: number; pace: number; step: number }>
  failures: number
  maxConcurrentLoads: number
  /** Whether a generation that is claimed at this moment is forked from a template. */
  startsWarm(seconds: number): boolean
}>

/** Phases of real runs (facts: §2.4), TI2V-5B unless said; encode and decode are seen as one there. */
const recorded = {
  'RTX 4090, 121 frames, 50 steps': {
    loading: 75,
    encoding: 8,
    step: 9.34,
    decoding: 58,
    saving: 2,
    converting: 3,
  },
  '81 frames, 16 steps, T5 on the CPU': {
    loading: 80,
    encoding: 32,
    step: 5.25,
    decoding: 20,
    saving: 2.1,
    converting: 2,
  },
  'RTX 3090 under WSL': {
    loading: 64,
    encoding: 40,
    step: 19.9,
    decoding: 760,
    saving: 2.2,
    converting: 3,
  },
  'A14B, 8 steps': {
    loading: 178,
    encoding: 13,
    step: 28.2,
    decoding: 40,
    saving: 3.1,
    converting: 3,
  },
  'slow disk, 3090': {
    loading: 309,
    encoding: 8,
    step: 9.9,
    decoding: 50,
    saving: 2.2,
    converting: 3,
  },
} as const satisfies Record<string, Base>

const usual: Shape = { size: '1280x720', frames: 121, steps: 50 }
const quiet = { stage: 0.06, pace: 0.015, step: 0.02 }

const plain: Omit<Workload, 'name'> = {
  gpus: 2,
  base: recorded['RTX 4090, 121 frames, 50 steps'],
  jobs: 120,
  arrival: (index, random) => index * 300 + random.between(0, 250),
  shape: () => usual,
  slowness: () => 1,
  coldFactor: 2.4,
  frameExponent: 1.25,
  noise: quiet,
  failures: 0,
  maxConcurrentLoads: 2,
  startsWarm: () => false,
}

/** Everything at once, in waves: the queue grows long and runs dry again. */
const inBursts = (size: number, everySeconds: number) => (index: number, random: Random) =>
  Math.floor(index / size) * everySeconds + random.between(0, 30)

const mixed = (random: Random): Shape => ({
  size: random.chance(0.5) ? '1280x720' : '720x1280',
  frames: random.pick([49, 81, 121, 161]) ?? 121,
  steps: random.pick([20, 30, 50]) ?? 50,
})

export const workloads: readonly Workload[] = [
  { ...plain, name: 'one kind of video, queue of a few' },
  ...Object.entries(recorded).map(([name, base]) => ({
    ...plain,
    name: `recorded: ${name}`,
    base,
    gpus: 1,
    jobs: 60,
    arrival: (index: number, random: Random) =>
      index * (base.loading + base.encoding + 50 * base.step + base.decoding) * 0.9 +
      random.between(0, 200),
  })),
  {
    ...plain,
    name: 'mixed sizes, frames and steps',
    gpus: 4,
    jobs: 300,
    shape: mixed,
    arrival: inBursts(12, 1_100),
  },
  {
    ...plain,
    name: 'a slow GPU among fast ones',
    gpus: 4,
    jobs: 240,
    slowness: (gpu) => (gpu === 3 ? 2.2 : 1 + gpu * 0.03),
    arrival: inBursts(10, 1_500),
  },
  {
    ...plain,
    name: 'GPUs that grow hot and cool down',
    jobs: 160,
    slowness: (gpu, seconds) => 1.12 + 0.12 * Math.sin(seconds / 5_000 + gpu * 2),
  },
  {
    ...plain,
    name: 'bursts of 30 on 8 GPUs, loads staggered',
    gpus: 8,
    jobs: 300,
    arrival: inBursts(30, 2_800),
    maxConcurrentLoads: 2,
  },
  {
    ...plain,
    name: 'one in ten attempts fails',
    gpus: 3,
    jobs: 200,
    failures: 0.1,
    shape: mixed,
    arrival: inBursts(9, 1_300),
  },
  {
    ...plain,
    name: 'cold starts again and again',
    jobs: 100,
    // Nobody comes for so long that the files of the model are no longer in memory.
    arrival: (index, random) =>
      Math.floor(index / 6) * 30_000 + (index % 6) * 320 + random.between(0, 100),
    coldFactor: 3,
  },
  {
    ...plain,
    name: 'warm starts, queue of a few',
    startsWarm: (seconds) => seconds > 120,
  },
  {
    ...plain,
    name: 'warm starts, without a template now and then',
    arrival: inBursts(6, 1_300),
    startsWarm: (seconds) => seconds > 120 && seconds % 7_000 > 1_200,
  },
  {
    ...plain,
    name: 'a noisy machine, shared with others',
    jobs: 200,
    gpus: 3,
    noise: { stage: 0.25, pace: 0.06, step: 0.1 },
    arrival: inBursts(8, 1_700),
  },
]
