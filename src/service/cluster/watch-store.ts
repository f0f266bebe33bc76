/** Whether a node can open connections for its store, as a leader must: its beats have one that stays open. */
import { DatabaseUnreachableError, messageOf } from '../../domain/errors.ts'

export type StoreWatchOptions = Readonly<{
  /** Opens a new connection and uses it. */
  connect(): Promise<unknown>
  /** Whether the beats of this node succeed. */
  isCertain(): boolean
  /** Whether another node beats, which may lead instead. */
  hasSuccessor(): Promise<boolean>
  onUseless(why: string): void
  lookMs?: number
}>

const defaultLookMs = 2_000

/** Failures in a row. Each takes up to 3 s, so a useless leader is noticed after 8 to 20 s. */
const maxFailures = 4

/**
 * Reports once that only this node cannot connect. A refusal by PostgreSQL itself, such as "too many clients", would meet
 * the next leader too, and counts as no failure. Nor does a failure while PostgreSQL does not confirm beats either.
 */
export function watchStore({
  connect,
  isCertain,
  hasSuccessor,
  onUseless,
  lookMs = defaultLookMs,
}: StoreWatchOptions): () => void {
  let failures = 0
  let timer = setTimeout(look, lookMs).unref()
  let isStopped = false
  return () => {
    isStopped = true
    clearTimeout(timer)
  }

  async function look(): Promise<void> {
    const error = await connect().then(
      () => undefined,
      (cause: unknown) => cause,
    )
    failures = isOwnFault(error) && isCertain() ? failures + 1 : 0
    const isUseless = failures >= maxFailures && (await hasSuccessor().catch(() => false))
    if (isStopped) return
    if (isUseless) onUseless(`it beats, but cannot open connections: ${messageOf(error)}`)
    else timer = setTimeout(look, lookMs).unref()
  }
}

/** Whether a node could lead: it can open connections, or PostgreSQL itself refuses those of every node. */
export const canConnect = (connect: () => Promise<unknown>): Promise<boolean> =>
  connect().then(
    () => true,
    (error: unknown) => !isOwnFault(error),
  )

/** An error that the server has sent has a severity. */
const isOwnFault = (error: unknown): boolean =>
  error instanceof DatabaseUnreachableError &&
  (error.cause as { severity?: unknown } | undefined)?.severity === undefined
