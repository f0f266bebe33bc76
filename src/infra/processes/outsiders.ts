/** Processes that have nothing to do with any attempt, so that a search need not look at them each time. */
import type { ProcessIdentity } from './process-table.ts'

/** A process that starts a program is without environment and arguments for a moment. */
const settledAfterMs = 10_000

/** Twice the processes of a busy machine. Beyond that all are looked at anew. */
const maxKnown = 20_000

export type Outsiders = ReturnType<typeof createOutsiders>

export function createOutsiders(now: () => number = () => performance.now()) {
  const known = new Map<number, Readonly<{ start: number; since: number; isSettled: boolean }>>()
  return {
    /** Says that a process looks like one. It is one when it still does so after a while. */
    add({ pid, start }: ProcessIdentity): void {
      const before = known.get(pid)
      const since = before?.start === start ? before.since : now()
      if (known.size >= maxKnown) known.clear()
      known.set(pid, { start, since, isSettled: now() - since >= settledAfterMs })
    },
    /** Says that a process does not look like one. */
    remove({ pid }: ProcessIdentity): void {
      known.delete(pid)
    },
    have({ pid, start }: ProcessIdentity): boolean {
      const one = known.get(pid)
      return one !== undefined && one.start === start && one.isSettled
    },
  }
}
