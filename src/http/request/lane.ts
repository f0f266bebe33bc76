import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import type { MiddlewareHandler } from 'hono'
import pLimit from 'p-limit'
import { RefusalError } from '../../domain/errors.ts'
import type { ClientEnv } from './client-env.ts'

/** Bytes that wait for slow clients. Who owns the connections says how many there are. */
export type Memory = { isShort(): boolean }

/** A list that has not been started by then is refused: its client can decide whether it tries again. */
const maxWaitMs = 10_000
const checkMs = 100

/**
 * Long answers are built one at a time, and none while too many bytes wait for slow clients. Between two of them short
 * requests get their turn: a list of 200 jobs with long prompts takes 30 ms, and hundreds of them may be requested at
 * once.
 */
export function createLane(
  memory: Memory,
  { waitMs = maxWaitMs }: { waitMs?: number } = {},
): MiddlewareHandler<ClientEnv> {
  const inTurn = pLimit(1)
  return (c, next) => {
    const { signal } = c.req.raw
    const until = performance.now() + waitMs
    return inTurn(async () => {
      while (memory.isShort() && performance.now() < until && !signal.aborted) await delay(checkMs)
      if (performance.now() >= until || signal.aborted) throw tooMany()
      await next()
      await nextTurn()
    })
  }
}

const tooMany = (): RefusalError =>
  new RefusalError(
    'service_busy',
    'Too many lists are requested, or their clients do not read them. Try again in a moment.',
  )
