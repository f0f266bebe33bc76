import type { Check, StandingCheck } from '../../domain/check.ts'

/** How to find out about each thing, by its name. It may take long, fail, or hang for ever. */
export type Looks = Readonly<Record<string, () => Promise<Check>>>

export type StandingChecks = Disposable &
  Readonly<{
    /** The latest result of each check, at once. */
    standing(): readonly StandingCheck[]
  }>

/**
 * Looks at each thing again and again in the background, and says at once what was found last.
 * Whatever hangs holds up nobody, is not asked a second time meanwhile, and is soon no longer
 * believed to be well.
 */
export function keepChecking(
  looks: Looks,
  { everyMs = 30_000, patienceMs = 10_000 } = {},
): StandingChecks {
  const kept = Object.entries(looks).map(([name, look]) => keep(name, look))
  let isStopped = false
  return {
    standing: () => kept.map((now) => now()),
    [Symbol.dispose]() {
      isStopped = true
    },
  }

  function keep(name: string, look: () => Promise<Check>): () => StandingCheck {
    let latest: { check: Check; at: number } | undefined
    let waitsSince: number | undefined
    void lookAgain()
    return now

    async function lookAgain(): Promise<void> {
      waitsSince = performance.now()
      const check = await look().catch((error: unknown) => unclear(name, error))
      latest = { check, at: performance.now() }
      waitsSince = undefined
      setTimeout(() => isStopped || lookAgain(), everyMs).unref()
    }

    function now(): StandingCheck {
      const waitedMs = waitsSince === undefined ? 0 : performance.now() - waitsSince
      const ageMs = latest ? performance.now() - latest.at : waitedMs
      if (waitedMs > patienceMs) return { ...hanging(name, waitedMs), ageMs }
      return { ...(latest?.check ?? { name, ok: false, detail: 'Not looked at yet.' }), ageMs }
    }
  }
}

const unclear = (name: string, error: unknown): Check => {
  const why = error instanceof Error ? error.message : String(error)
  return { name, ok: false, detail: `It could not be found out: ${why}` }
}

const hanging = (name: string, waitedMs: number): Check => ({
  name,
  ok: false,
  detail: `There has been no answer for ${Math.round(waitedMs / 1000)} s: a disk or a process hangs.`,
})
