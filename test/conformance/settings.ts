/** Where things are, as `main.ts` has prepared them for the tests. */
import { join } from 'node:path'
import type { WanTask } from '../../src/domain/wan-tasks.ts'

export const here = import.meta.dirname

/** Kept between runs. Nothing else that works on the sources looks into it. */
export const cacheDir = join(here, '..', '..', 'node_modules', '.cache', 'conformance')

/** Changes to Wan2.2 that every Python below has to load: they go on `PYTHONPATH`. */
export const changesDir = join(here, 'python')

export type Prepared = Readonly<{
  python: string
  /** Holds `generate.py`: that of a checkout, or our own for the package. */
  wanDir: string
  /** Holds `wan/`. */
  codeDir: string
  isCheckout: boolean
  checkpoints: Readonly<Partial<Record<WanTask, string>>>
}>

export const toEnvironment = (prepared: Prepared): NodeJS.ProcessEnv => ({
  CONFORMANCE: JSON.stringify(prepared),
})

export function prepared(): Prepared {
  const { CONFORMANCE } = process.env
  if (!CONFORMANCE) throw new Error('these tests need a Python with Wan2.2: run make conformance')
  return JSON.parse(CONFORMANCE) as Prepared
}

/** Of every Python that runs Wan2.2. */
export const pythonEnvironment = {
  PYTHONPATH: changesDir,
  // Two generations at once have a core each.
  OMP_NUM_THREADS: '1',
  // Otherwise half of the decode is spent on giving memory back to the system and getting it again.
  MALLOC_MMAP_THRESHOLD_: String(4 * 1024 ** 3),
  MALLOC_TRIM_THRESHOLD_: String(8 * 1024 ** 3),
} as const
