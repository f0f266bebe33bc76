/** Wakes a node for its mail by LISTEN, as long as that works: notifications to itself show it. */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { messageOf } from '../domain/errors.ts'
import type { Logger } from '../domain/log.ts'
import type { ClusterDatabase } from './database.ts'

export type ListenerOptions = Readonly<{
  database: ClusterDatabase
  channel: string
  onNotification(): void
  /** Connected and tested. Notifications before this may have been missed. */
  onConnected(): void
  log: Logger
  times?: Partial<ListenerTimes>
}>

/** In milliseconds. */
type ListenerTimes = Readonly<{
  /** For the notification to itself to arrive. */
  limit: number
  /** Between two of them: a connection through a silent network reports nothing. */
  probe: number
  retry: number
  /** After a connection that works, but brings no notifications. */
  deafRetry: number
}>

const defaultTimes: ListenerTimes = { limit: 1_400, probe: 5_000, retry: 500, deafRetry: 60_000 }

export type Listener = {
  isListening(): boolean
  stop(): Promise<void>
}

export function startListener({
  database,
  channel,
  onNotification,
  onConnected,
  log,
  times = {},
}: ListenerOptions): Listener {
  const { limit, probe, retry, deafRetry } = { ...defaultTimes, ...times }
  const stopping = new AbortController()
  const { signal } = stopping
  let isListening = false
  let isKnownDeaf = false
  const finished = run()
  return {
    isListening: () => isListening,
    async stop() {
      stopping.abort()
      await finished
    },
  }

  async function run(): Promise<void> {
    while (!signal.aborted) {
      const end = await listen().catch((error: unknown) => {
        log.debug({ error: messageOf(error) }, 'the connection for notifications has failed')
        return 'broken' as const
      })
      isListening = false
      await pause(end === 'deaf' ? deafRetry : retry)
    }
  }

  /** Transaction pooling accepts LISTEN and brings no notifications. */
  async function listen(): Promise<'deaf' | 'broken'> {
    const nonces = new Map<string, () => void>()
    const connection = await database.openListener(channel, (payload) => {
      if (payload === '') onNotification()
      else nonces.get(payload)?.()
    })
    signal.addEventListener('abort', connection.end, { once: true })
    const broken = connection.ended.then(() => false)
    try {
      for (let isFirst = true; !signal.aborted; isFirst = false) {
        const isHeard = await Promise.race([echo(nonces), broken])
        if (!isHeard) return isFirst && !signal.aborted ? deaf() : 'broken'
        isListening = true
        isKnownDeaf = false
        if (isFirst) onConnected()
        await Promise.race([pause(probe), broken])
      }
      return 'broken'
    } finally {
      signal.removeEventListener('abort', connection.end)
      connection.end()
    }
  }

  async function echo(nonces: Map<string, () => void>): Promise<boolean> {
    const nonce = randomUUID()
    const heard = new Promise<boolean>((resolve) => nonces.set(nonce, () => resolve(true)))
    try {
      await database.mail.query('select pg_notify($1, $2)', [channel, nonce])
      return await Promise.race([heard, pause(limit).then(() => false)])
    } finally {
      nonces.delete(nonce)
    }
  }

  function deaf(): 'deaf' {
    if (!isKnownDeaf) {
      log.warn({}, 'the database brings no notifications; this node polls for its mail')
    }
    isKnownDeaf = true
    return 'deaf'
  }

  async function pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal }).catch(() => {})
  }
}
