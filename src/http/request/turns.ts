/** Turns for work that can wait a little: the next of pipelined requests, the rest of a long stream. */

/**
 * Between two pieces of work Node accepts one connection. If a hundred clients that never read had theirs one right
 * after the other, new connections would wait for seconds.
 */
const pauseMs = 1

/** While one connection after the other comes, the next piece of work waits for them, but no longer. */
const maxPauseMs = 20

const waiting: (() => void)[] = []
let hasArrived = false
let pausedSince = 0

/** To be called for each new connection. */
export function connectionArrived(): void {
  hasArrived = true
}

/** Runs `work` later: one at a time, in the order of the calls, with a pause for all others before each. */
export function takeTurn(work: () => void): void {
  if (waiting.push(work) === 1) pause()
}

function pause(): void {
  pausedSince = performance.now()
  setTimeout(next, pauseMs)
}

function next(): void {
  if (hasArrived && performance.now() - pausedSince < maxPauseMs) {
    hasArrived = false
    setTimeout(next, pauseMs)
    return
  }
  const work = waiting.shift()
  if (waiting.length > 0) pause()
  work?.()
}

/** Resolves when it is the caller's turn. */
export const myTurn = (): Promise<void> => new Promise(takeTurn)
