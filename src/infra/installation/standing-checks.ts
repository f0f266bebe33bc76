import type { Check, StandingCheck } from '../../domain/check.ts'

/** How to find out about each thing, by its name. It may take long, fail, or hang for ever. */
export type Looks = Readonly<Record<string, () => Promise<Check>>>

export type StandingChecks = Disposable &
  Readonly<{
    /** The latest result of each check, at once. */
    standing(): readonly StandingCheck[]
    /** Has each check made now, or again as soon as the one under way has ended. */
    lookAgain(): void
    /** Calls back with the latest result of all checks that have one, now and whenever one is made. */
    listen(listener: (checks: readonly Check[]) => void): void
    /** Calls all listeners back with what they were told last. */
    tellAgain(): void
  }>

/**
 * Looks at each thing again and again in the background, and says at once what was found last.
 * Whatever hangs holds up nobody, is not asked a second time meanwhile, and is soon no longer
 * believed to be well.
 */
export function keepChecking(
  looks: Looks,
  // What failed is looked at more often, so that waiting jobs go on soon after it works again.
  { everyMs = 30_000, failedEveryMs = 2_000, patienceMs = 10_000 } = {},
): StandingChecks {
  const listeners: ((checks: readonly Check[]) => void)[] = []
  const kept = Object.entries(looks).map(([name, look]) => keep(name, look))
  let isStopped = false
  return {
    standing: () => kept.map(({ now }) => now()),
    lookAgain: () => {
      for (const { lookNow } of kept) lookNow()
    },
    listen(listener) {
      listeners.push(listener)
      listener(verdicts())
    },
    tellAgain: tellAll,
    [Symbol.dispose]() {
      isStopped = true
    },
  }

  function tellAll(): void {
    if (!isStopped) for (const listener of listeners) listener(verdicts())
  }

  function verdicts(): readonly Check[] {
    return kept.filter(({ isKnown }) => isKnown()).map(({ now }) => checkOf(now()))
  }

  function keep(name: string, look: () => Promise<Check>) {
    let latest: { check: Check; at: number } | undefined
    let waitsSince: number | undefined
    let isDue = false
    let timer: NodeJS.Timeout | undefined
    void lookOnce()
    return { now, lookNow, isKnown: () => latest !== undefined || isHanging() }

    function lookNow(): void {
      isDue = true
      if (waitsSince === undefined && !isStopped) void lookOnce()
    }

    async function lookOnce(): Promise<void> {
      clearTimeout(timer)
      isDue = false
      waitsSince = performance.now()
      const hangs = setTimeout(tellAll, patienceMs + 1).unref()
      const check = await look().catch((error: unknown) => unclear(name, error))
      clearTimeout(hangs)
      latest = { check, at: performance.now() }
      waitsSince = undefined
      tellAll()
      if (isStopped) return
      if (isDue) {
        void lookOnce()
        return
      }
      const nextMs = check.ok ? everyMs : Math.min(everyMs, failedEveryMs)
      timer = setTimeout(() => isStopped || lookOnce(), nextMs).unref()
    }

    function isHanging(): boolean {
      return waitsSince !== undefined && performance.now() - waitsSince > patienceMs
    }

    function now(): StandingCheck {
      const waitedMs = waitsSince === undefined ? 0 : performance.now() - waitsSince
      const ageMs = latest ? performance.now() - latest.at : waitedMs
      if (isHanging()) return { ...hanging(name, waitedMs), ageMs }
      return { ...(latest?.check ?? { name, ok: false, detail: 'Not looked at yet.' }), ageMs }
    }
  }
}

const checkOf = ({ name, ok, detail }: StandingCheck): Check => ({ name, ok, detail })

const unclear = (name: string, error: unknown): Check => {
  const why = error instanceof Error ? error.message : String(error)
  return { name, ok: false, detail: `It could not be found out: ${why}` }
}

const hanging = (name: string, waitedMs: number): Check => ({
  name,
  ok: false,
  detail: `There has been no answer for ${Math.round(waitedMs / 1000)} s: a disk or a process hangs.`,
})
