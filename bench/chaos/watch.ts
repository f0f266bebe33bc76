import { type Cast, castOf, environmentOf, isAlive, type Victim } from './processes.ts'

const everyMs = 40

export type Watch = ReturnType<typeof watchGenerations>

/** Looks at the generations again and again, and notes what is then certain. */
export function watchGenerations(dataDir: string) {
  const lastAlive = new Map<string, number>()
  const together = new Set<string>()
  const gpus = new Map<string, string | undefined>()
  const timer = setInterval(look, everyMs)

  return {
    look,
    /** The last moment at which the generation of an attempt was certainly there. */
    lastAlive: lastAlive as ReadonlyMap<string, number>,
    /** Attempts that were certainly on one GPU at one moment. */
    together: together as ReadonlySet<string>,
    stop: () => clearInterval(timer),
  }

  function look(): Cast {
    const at = Date.now()
    const cast = castOf(dataDir)
    for (const { attempt } of cast.generations) lastAlive.set(attempt, at)
    for (const [index, one] of cast.generations.entries()) {
      for (const other of cast.generations.slice(index + 1)) {
        if (one.attempt === other.attempt || gpuOf(one) !== gpuOf(other)) continue
        // The first may have ended before the second began, unless it is still there now.
        if (isAlive(one) && isAlive(other)) together.add(pairOf(one.attempt, other.attempt))
      }
    }
    return cast
  }

  function gpuOf({ pid, started }: Victim): string | undefined {
    const key = `${pid} ${started}`
    if (!gpus.has(key)) gpus.set(key, environmentOf(pid, 'CUDA_VISIBLE_DEVICES'))
    return gpus.get(key)
  }
}

export const pairOf = (one: string, other: string): string => [one, other].sort().join(' and ')
