/** The present leader, for nodes that forward to it. */
import type { EventEmitter } from 'node:events'

/** `term`: another one is another process, also with the same URL. */
export type Leader = Readonly<{ url: string; term?: number }>

export type LeaderPort = Readonly<{
  /** The node that leads, as far as it is known. */
  leader(): Leader | undefined
  /** Calls `listener` after each change of `leader()`. Stops when the returned function is called. */
  onLeaderChange(listener: () => void): () => void
}>

export type LeaderWatch = ReturnType<typeof createLeaderWatch>

/** A leader that stops has this long to end its responses. */
const defaultGraceMs = 2_000

/** Time between two tries to reach a leader that does not accept requests. */
const retryMs = 100

export function createLeaderWatch(port: LeaderPort, { graceMs = defaultGraceMs } = {}) {
  /** What to call for requests at a leader when another node leads. */
  const inProgress = new Map<() => void, Leader>()
  const waiting = new Set<() => void>()
  const timers = new Set<NodeJS.Timeout>()
  const stop = port.onLeaderChange(() => {
    for (const goOn of [...waiting]) goOn()
    const timer = setTimeout(cutOld, graceMs)
    timers.add(timer)
    function cutOld(): void {
      timers.delete(timer)
      const now = port.leader()
      if (!now) return
      for (const [cut, leader] of [...inProgress]) if (!isSame(leader, now)) cut()
    }
  })

  return {
    leader: port.leader,

    /** Resolves when the leader changes, when it is worth another try, or when `client` is closed. */
    async pause(maxMs: number, client: Pick<EventEmitter, 'once' | 'off'>): Promise<void> {
      const { promise, resolve } = Promise.withResolvers<void>()
      const wait = port.leader() ? Math.min(retryMs, maxMs) : maxMs
      const timer = setTimeout(resolve, wait)
      waiting.add(resolve)
      client.once('close', resolve)
      await promise
      clearTimeout(timer)
      waiting.delete(resolve)
      client.off('close', resolve)
    },

    /** Calls `cut` when another node leads, unless the returned function was called before. */
    hold(leader: Leader, cut: () => void): () => void {
      inProgress.set(cut, leader)
      return () => void inProgress.delete(cut)
    },

    close(): void {
      stop()
      for (const timer of timers) clearTimeout(timer)
    },
  }
}

const isSame = (a: Leader, b: Leader): boolean => a.url === b.url && a.term === b.term
