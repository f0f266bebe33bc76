import { setTimeout as delay } from 'node:timers/promises'
import type { MiddlewareHandler } from 'hono'
import pLimit from 'p-limit'
import { RefusalError } from '../../domain/errors.ts'
import type { ClientEnv } from './client-env.ts'

/** Bytes that wait for slow clients. Who owns the connections says how many there are. */
export type Memory = { isShort(): boolean }

/** A list that has not been started by then is refused: its client can decide whether it tries again. */
const maxWaitMs = 10_000
const checkMs = 100

/** The longest pause behind a long answer: one that waited for a slow disk kept nobody from anything. */
const maxRestMs = 200

/**
 * Long answers are built one at a time, and none while too many bytes wait for slow clients. Between two of them short
 * requests get three times as long as the last one took: a list of 200 jobs with long prompts takes 30 ms, hundreds of
 * them may be requested at once, and Node accepts one connection between two pieces of work.
 */
export function createLane(
  memory: Memory,
  { waitMs = maxWaitMs }: { waitMs?: number } = {},
): MiddlewareHandler<ClientEnv> {
  const inTurn = pLimit(1)
  return (c, next) => {
    const { signal } = c.req.raw
    const until = performance.now() + waitMs
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    void inTurn(async () => {
      while (memory.isShort() && performance.now() < until && !signal.aborted) await delay(checkMs)
      if (performance.now() >= until || signal.aborted) return reject(tooMany())
      const begun = performance.now()
      await next().then(resolve, reject)
      await delay(Math.min(3 * (performance.now() - begun), maxRestMs))
    })
    return promise
  }
}

const tooMany = (): RefusalError =>
  new RefusalError(
    'service_busy',
    'Too many lists are requested, or their clients do not read them. Try again in a moment.',
  )
