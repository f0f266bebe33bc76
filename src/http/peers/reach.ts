/** Whether a machine still receives packets. */
import { connect } from 'node:net'

/** Three packets are sent in this time. */
const defaultLimitMs = 5_000

/** Requests that wait for the same node share a check. */
const freshMs = 1_000

const refusals = new Set(['ECONNREFUSED', 'ECONNRESET'])

/** A machine that refuses a connection is there: it resolves with true. Never rejects. */
export function createReach({ limitMs = defaultLimitMs }: { limitMs?: number | undefined } = {}) {
  const checks = new Map<string, Readonly<{ at: number; isReached: Promise<boolean> }>>()
  return (hostname: string, port: number): Promise<boolean> => {
    const key = `${hostname} ${port}`
    const at = performance.now()
    const known = checks.get(key)
    if (known && at - known.at < freshMs) return known.isReached
    const isReached = canConnect(hostname, port, limitMs)
    checks.set(key, { at, isReached })
    return isReached
  }
}

function canConnect(host: string, port: number, limitMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: limitMs })
    const end = (isReached: boolean) => {
      socket.destroy()
      resolve(isReached)
    }
    socket.once('connect', () => end(true))
    socket.once('timeout', () => end(false))
    socket.once('error', ({ code }: NodeJS.ErrnoException) => end(refusals.has(code ?? '')))
  })
}
