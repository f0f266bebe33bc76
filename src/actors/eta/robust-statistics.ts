/** Weighted statistics that single outliers do not move. */

/** Between the two middle ones where it falls between them. */
export function weightedMedian<T extends { weight: number }>(
  items: readonly T[],
  pick: (item: T) => number,
): number {
  const sorted = items
    .map((item) => ({ value: pick(item), weight: item.weight }))
    .sort((a, b) => a.value - b.value)
  const half = weightOf(sorted) / 2
  let below = 0
  for (const [index, { value, weight }] of sorted.entries()) {
    const next = sorted[index + 1]
    below += weight
    if (below > half * (1 + 1e-9) || !next) return value
    if (below >= half * (1 - 1e-9)) return (value + next.value) / 2
  }
  return 0
}

/** Huber's: what is further off than tolerated pulls no more than what is just tolerated. */
export function robustMean<T extends { weight: number }>(
  items: readonly T[],
  pick: (item: T) => number,
  tolerance: number,
): number {
  let mean = weightedMedian(items, pick)
  for (let round = 0; round < 4; round++) {
    let [sum, weights] = [0, 0]
    for (const item of items) {
      const value = pick(item)
      const off = Math.abs(value - mean)
      const weight = item.weight * (off > tolerance ? tolerance / off : 1)
      sum += weight * value
      weights += weight
    }
    if (weights > 0) mean = sum / weights
  }
  return mean
}

export const weightOf = (samples: readonly { weight: number }[]): number =>
  samples.reduce((sum, { weight }) => sum + weight, 0)
