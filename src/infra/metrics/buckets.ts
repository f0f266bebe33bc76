/** Upper limits of histograms, in seconds. */

const minute = 60
const hour = 60 * minute

/** A video takes minutes: the figures of Wan2.2's README lie between two and some forty. */
export const durationBuckets = [
  ...[15, 30],
  ...[1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 45].map((minutes) => minutes * minute),
  ...[1, 2, 4, 8, 24].map((hours) => hours * hour),
]

export const waitBuckets = [
  ...[1, 10, 30],
  ...[1, 2, 5, 10, 20, 30, 45].map((minutes) => minutes * minute),
  ...[1, 2, 4, 8, 12, 24, 48].map((hours) => hours * hour),
]

export const stageBuckets = [
  ...[0.5, 1, 2, 5, 10, 20, 30, 45],
  ...[1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 60].map((minutes) => minutes * minute),
]
