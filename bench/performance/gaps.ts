/** How long a GPU waits between two generations, measured in several ways side by side. */
import { median, ms, quantile, times } from './figures.ts'

/** One generation, in milliseconds since 1970. */
export type Run = Readonly<{ began: number; ended: number }>

/** The queue is still filling while these begin. */
const firstRuns = 5

/** Rows of p50, p99 and multiples of the first way, which is the floor. Each way gives its runs, which are `jobs`. */
export async function measureGaps(
  ways: Readonly<Record<string, () => Promise<readonly Run[]>>>,
  { rounds, jobs, say }: { rounds: number; jobs: number; say: (line: string) => void },
): Promise<string[][]> {
  const gaps = new Map<string, number[][]>(Object.keys(ways).map((way) => [way, []]))
  for (let round = 1; round <= rounds; round++) {
    for (const [way, measure] of Object.entries(ways)) {
      const found = gapsOf(await measure(), jobs)
      gaps.get(way)?.push(found)
      say(`round ${round}: ${way}: ${ms(median(found))}`)
    }
  }
  const p50s = [...gaps.values()].map((found) => median(found.map(median)))
  const [floor = Number.NaN] = p50s
  return [...gaps].map(([way, found], index) => {
    const p50 = p50s[index] ?? Number.NaN
    return [way, ms(p50), ms(quantile(found.flat(), 0.99)), times(p50 / floor)]
  })
}

/** From the end of each run to the beginning of the next. */
function gapsOf(runs: readonly Run[], jobs: number): number[] {
  if (runs.length !== jobs) throw new Error(`${runs.length} generations instead of ${jobs}`)
  const sorted = runs.toSorted((one, other) => one.began - other.began)
  return sorted
    .slice(firstRuns)
    .map(({ began }, index) => began - (sorted[index + firstRuns - 1]?.ended ?? began))
}
