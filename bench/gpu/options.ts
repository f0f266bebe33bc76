/** The command line of `scripts/gpu-check`. */
import { parseArgs } from 'node:util'

export const parts = ['probe', 'service'] as const
export type Part = (typeof parts)[number]

export type Options = Readonly<{
  /** As nvidia-smi numbers it; undefined: the first. */
  gpu: number | undefined
  python: string
  wanDir: string
  /** Real weights. */
  ckptDir: string | undefined
  /** Where random ones are kept. */
  weightsDir: string | undefined
  jobs: number
  minutes: number
  warmStart: 'auto' | 'on'
  only: readonly Part[]
  /** Whether the service is built from the sources first. */
  build: boolean
  json: string | undefined
}>

/** Something is missing or wrong, and the message says what to do. Nothing has been checked yet. */
export class UnfitError extends Error {
  override readonly name = 'UnfitError'
}

export const help = `scripts/gpu-check [options]

Checks warm starts on a machine with a GPU: whether a forked process can use it, whether videos that start warm equal
those that start cold, what each part takes, whether GPU memory is given back after each job and each cancel.
Prints a line for each check to stderr, and a Markdown table to stdout. docs/warm-start.md says more.

  --gpu ID           the GPU, as nvidia-smi -L numbers it (the first)
  --wan-dir DIR      a checkout of Wan2.2 (WAN_DIR)
  --python PROGRAM   Python with the packages of Wan2.2 (WAN_PYTHON, else python3)
  --ckpt-dir DIR     weights of ti2v-5B. Without them, random ones of the same size are written: 34 GB
  --weights-dir DIR  keep the random weights there for the next run (a temporary directory, which is removed)
  --jobs N           jobs in a row at the end (20)
  --minutes N        time for everything. Checks that are left then are named as not done (10)
  --warm-start HOW   auto, or on, which asks for no memory and no probe (auto)
  --only PARTS       ${parts.join(' or ')}, or both separated by a comma (both)
  --no-build         use the service as it was built last
  --json FILE        also write all figures to this file
  --help             print this

WAN_EXTRA_ARGS, WAN_SDPA and FAST_LOAD are used as the service uses them. If WAN_EXTRA_ARGS is not set, GPUs with less than
70 GB get --convert_model_dtype; if WAN_SDPA is not set, it is 1 where flash-attn is missing.

Exit status: 0 all passed, 1 a check failed or was not done, 2 nothing was checked, the message says why.
`

/** Undefined: help was asked for. */
export function readOptions(args: readonly string[], env: NodeJS.ProcessEnv): Options | undefined {
  const values = parse(args)
  if (values.help) return undefined
  const wanDir = values['wan-dir'] ?? env.WAN_DIR
  if (!wanDir) {
    throw new UnfitError('No checkout of Wan2.2 is named. Set WAN_DIR, or pass --wan-dir DIR.')
  }
  const { 'ckpt-dir': ckptDir, 'weights-dir': weightsDir } = values
  if (ckptDir !== undefined && weightsDir !== undefined) {
    throw new UnfitError('--ckpt-dir has real weights and --weights-dir random ones: pass one.')
  }
  return {
    gpu: values.gpu === undefined ? undefined : wholeNumber('gpu', values.gpu, 0, 1_000),
    python: values.python ?? (env.WAN_PYTHON || 'python3'),
    wanDir,
    ckptDir,
    weightsDir,
    jobs: wholeNumber('jobs', values.jobs, 1, 1_000),
    minutes: wholeNumber('minutes', values.minutes, 1, 24 * 60),
    warmStart: oneOf('warm-start', values['warm-start'], ['auto', 'on']),
    only: values.only.split(',').map((part) => oneOf('only', part, parts)),
    build: !values['no-build'],
    json: values.json,
  }
}

function parse(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        gpu: { type: 'string' },
        'wan-dir': { type: 'string' },
        python: { type: 'string' },
        'ckpt-dir': { type: 'string' },
        'weights-dir': { type: 'string' },
        jobs: { type: 'string', default: '20' },
        minutes: { type: 'string', default: '10' },
        'warm-start': { type: 'string', default: 'auto' },
        only: { type: 'string', default: parts.join() },
        'no-build': { type: 'boolean', default: false },
        json: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    })
    return values
  } catch (error) {
    throw new UnfitError(`${error instanceof Error ? error.message : error} See --help.`)
  }
}

function wholeNumber(name: string, text: string, min: number, max: number): number {
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (number >= min && number <= max) return number
  throw new UnfitError(`--${name} must be a whole number from ${min} to ${max}, not ${text}.`)
}

function oneOf<T extends string>(name: string, text: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text)
  if (found) return found
  throw new UnfitError(`--${name} must be ${choices.join(' or ')}, not ${text}.`)
}
