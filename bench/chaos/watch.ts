import {
  type Cast,
  castOf,
  environmentOf,
  type Identity,
  isAlive,
  isFork,
  type Victim,
} from './processes.ts'
import { readRuns } from './results.ts'

const everyMs = 40

/** The kernel ends a template with its fork server, and a start builds another: that takes a moment. */
const maxTemplatesMs = 3_000

export type Watch = ReturnType<typeof watchGenerations>

/** Looks at the generations again and again, and notes what is then certain. */
export function watchGenerations(dataDir: string) {
  const lastAlive = new Map<string, number>()
  const together = new Set<string>()
  const gpus = new Map<string, string | undefined>()
  const warm = new Set<string>()
  const crowded = new Set<string>()
  let severalSince: number | undefined
  const timer = setInterval(look, everyMs)

  return {
    look,
    /** The last moment at which the generation of an attempt was certainly there. */
    lastAlive: lastAlive as ReadonlyMap<string, number>,
    /** Attempts that were certainly on one GPU at one moment. */
    together: together as ReadonlySet<string>,
    /** Attempts whose generation was forked from a template. */
    warm: warm as ReadonlySet<string>,
    /** Templates of one service that were there at the same time for too long. */
    crowded: crowded as ReadonlySet<string>,
    stop: () => clearInterval(timer),
  }

  function look(): Cast {
    const at = Date.now()
    const cast = castOf(dataDir)
    for (const one of cast.generations) {
      lastAlive.set(one.attempt, at)
      if (isFork(one)) warm.add(one.attempt)
    }
    count(cast.templates, at)
    for (const [index, one] of cast.generations.entries()) {
      for (const other of cast.generations.slice(index + 1)) {
        if (one.attempt === other.attempt) continue
        const gpu = gpuOf(one)
        if (gpu === undefined || gpu !== gpuOf(other)) continue
        // The first may have ended before the second began, unless it is still there now.
        if (isAlive(one) && isAlive(other)) together.add(pairOf(one.attempt, other.attempt))
      }
    }
    return cast
  }

  function count(templates: readonly Identity[], at: number): void {
    const there = templates.filter(isAlive)
    severalSince = there.length < 2 ? undefined : (severalSince ?? at)
    if (severalSince !== undefined && at - severalSince > maxTemplatesMs) {
      crowded.add(`${there.map(({ pid }) => pid).join(' and ')} were templates at the same time`)
    }
  }

  /** A fork shows the environment of its template: its own journal says which GPU it has. */
  function gpuOf(generation: Victim): string | undefined {
    const { pid, started, attempt } = generation
    const key = `${pid} ${started}`
    const known = gpus.get(key)
    if (known !== undefined) return known
    const gpu = isFork(generation)
      ? readRuns(dataDir).find((run) => run.attempt === attempt)?.gpu
      : environmentOf(pid, 'CUDA_VISIBLE_DEVICES')
    gpus.set(key, gpu)
    return gpu
  }
}

export const pairOf = (one: string, other: string): string => [one, other].sort().join(' and ')
