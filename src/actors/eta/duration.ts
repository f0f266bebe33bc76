/** Durations that nobody knows exactly, and what is left of one that has begun. */

/** Log-normal: what takes time on a computer is late by a factor, and never early by more than all. */
export type Duration = Readonly<{
  /** Seconds; as often it takes longer as it takes less. */
  median: number
  /** How much it differs from one attempt to the next: standard deviation of its logarithm. */
  spread: number
  /** How far the median itself may be off, for every attempt alike; on the same scale. */
  doubt: number
}>

/** Time still to come, in seconds. */
export type Outlook = Readonly<{
  median: number
  /** Standard deviation of what differs from attempt to attempt: adds up in squares. */
  deviation: number
  /** What would be wrong for all attempts alike: adds up as it is. */
  doubt: number
}>

export const nothingLeft: Outlook = { median: 0, deviation: 0, doubt: 0 }

export const whole = ({ median, spread, doubt }: Duration): Outlook => ({
  median,
  deviation: median * spread,
  doubt: median * doubt,
})

/** One after the other. */
export const plus = (a: Outlook, b: Outlook): Outlook => ({
  median: a.median + b.median,
  deviation: Math.hypot(a.deviation, b.deviation),
  doubt: a.doubt + b.doubt,
})

export const slower = ({ median, ...rest }: Duration, factor: number): Duration => ({
  ...rest,
  median: median * factor,
})

/**
 * What is left of a duration of which so much is over. Once in a while something takes far longer
 * than ever before: the longer it has been overdue, the more is expected, so that nobody is told
 * "any moment" for minutes.
 */
export function remaining(duration: Duration, elapsed: number): Outlook {
  if (elapsed <= 0) return whole(duration)
  const left = (share: number) => quantile(duration, elapsed, share) - elapsed
  const median = left(0.5)
  return {
    median,
    deviation: (left(0.9) - left(0.1)) / (2 * ninth),
    doubt: Math.min(duration.doubt * duration.median, median),
  }
}

/** As relative deviation of its logarithm: how far off a told time may be. */
export const relativeSpread = ({ median, deviation, doubt }: Outlook): number =>
  median > 0 ? Math.hypot(deviation, doubt) / median : 0

/** Nine of ten normal outcomes are below so many standard deviations. */
const ninth = 1.2816

/** Share of the outcomes that follow no pattern, and what is assumed of them. */
const odd = { share: 0.05, factor: 1.3, spread: 0.6 }

const minSpread = 0.02

/** Halves an interval of some e^8 until the result is right to a millionth. */
const quantileRounds = 26

/** By when this share of those is over that are not over after `elapsed`. */
function quantile(duration: Duration, elapsed: number, share: number): number {
  const target = survival(duration, elapsed) * (1 - share)
  // So far beyond everything that is known that only its own age tells anything.
  if (!(target > 1e-12)) return elapsed * (1 + 0.4 * share)
  let low = Math.log(elapsed)
  let high = Math.max(low, Math.log(duration.median)) + 8
  for (let round = 0; round < quantileRounds; round++) {
    const middle = (low + high) / 2
    if (survival(duration, Math.exp(middle)) > target) low = middle
    else high = middle
  }
  return Math.exp(high)
}

function survival({ median, spread }: Duration, seconds: number): number {
  const z = (by: number, from: number) => Math.log(seconds / from) / by
  const usual = upperTail(z(Math.max(minSpread, spread), median))
  return (1 - odd.share) * usual + odd.share * upperTail(z(odd.spread, median * odd.factor))
}

/** Of the normal distribution, with a relative error below 2e-7 (Numerical Recipes, erfc). */
function upperTail(z: number): number {
  const x = z / Math.SQRT2
  const t = 1 / (1 + 0.5 * Math.abs(x))
  const polynomial = coefficients.reduceRight((sum, coefficient) => sum * t + coefficient, 0)
  const tail = t * Math.exp(-x * x + polynomial)
  return (x >= 0 ? tail : 2 - tail) / 2
}

const coefficients = [
  -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587,
  -0.82215223, 0.17087277,
]
