import { setTimeout as delay } from 'node:timers/promises'
import { isAlive, signal, type Victim } from './processes.ts'

const inquestMs = 3_000
const vanishMs = 3_000

/** Kills, and notes what the victims had achieved by then. `exitOf`: how an attempt ended, where that is on disk. */
export function createKiller(exitOf: (attempt: string) => { code: number | null } | undefined) {
  const struck = new Set<string>()
  const excused = new Set<string>()
  const inquests: Promise<void>[] = []

  return {
    /** Attempts of which the generation or the shim was killed. */
    struck: struck as ReadonlySet<string>,
    /** Attempts that were killed before their success was on disk. */
    excused: excused as ReadonlySet<string>,

    kill(victim: Victim): boolean {
      const isHit = signal(victim, 'SIGKILL')
      if (isHit && victim.role !== 'conversion') {
        struck.add(victim.attempt)
        inquests.push(inquest(victim))
      }
      return isHit
    },

    /** Resolves when all is known of those that were killed. */
    async settled(): Promise<void> {
      await Promise.all(inquests)
    },
  }

  /** Unless its success is on disk, nobody can know that the victim's attempt had come to its end. */
  async function inquest(victim: Victim): Promise<void> {
    const { attempt, role } = victim
    while (isAlive(victim)) await delay(1)
    // A shim leaves nothing after its death; that of a generation is recorded by its shim.
    const giveUpAt = Date.now() + (role === 'shim' ? 0 : inquestMs)
    let exit = exitOf(attempt)
    while (!exit && Date.now() < giveUpAt) {
      await delay(5)
      exit = exitOf(attempt)
    }
    if (exit?.code !== 0) excused.add(attempt)
  }
}

/** Waits a moment for processes that are ending. Resolves with those that are left. */
export async function vanish<T>(look: () => readonly T[]): Promise<readonly T[]> {
  for (const giveUpAt = Date.now() + vanishMs; Date.now() < giveUpAt; await delay(50)) {
    if (look().length === 0) return []
  }
  return look()
}
