export const hourMs = 60 * 60 * 1000
export const dayMs = 24 * hourMs

/** Longest delay of a timer in Node: a longer one would fire at once. */
export const maxTimerMs = 2 ** 31 - 1
