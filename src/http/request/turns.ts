/** Turns for work that can wait a little: the next of pipelined requests, the rest of a long stream. */

/**
 * Between two pieces of work Node accepts one connection. If a hundred clients that never read had theirs one right
 * after the other, new connections would wait for seconds.
 */
const pauseMs = 1

const waiting: (() => void)[] = []

/** Runs `work` later: one at a time, in the order of the calls, with a pause for all others before each. */
export function takeTurn(work: () => void): void {
  if (waiting.push(work) === 1) setTimeout(next, pauseMs)
}

function next(): void {
  const work = waiting.shift()
  if (waiting.length > 0) setTimeout(next, pauseMs)
  work?.()
}

/** Resolves when it is the caller's turn. */
export const myTurn = (): Promise<void> => new Promise(takeTurn)
