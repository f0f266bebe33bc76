/** Messages between the main thread and the database thread. */
import type { PlainError } from './thread-errors.ts'

/** `sentAt`: `monotonicMs` of the sender, which is the same in every thread. */
export type ThreadRequest = Readonly<
  | { type: 'call'; id: number; name: string; args: readonly unknown[]; sentAt: number }
  /** The first statement of a session waits for its turn. The turn lasts until the end of the session. */
  | {
      type: 'statement'
      id: number
      session: number
      sql: string
      parameters: readonly unknown[]
      sentAt: number
    }
  | { type: 'end'; session: number }
  | { type: 'close' }
>

export type ThreadMessage = Readonly<
  | { type: 'opened' }
  | { type: 'notOpened'; error: PlainError }
  | { type: 'done'; id: number; result: unknown }
  | { type: 'failed'; id: number; error: PlainError }
  /** The database belongs to another service now: no call succeeds any more. */
  | { type: 'deposed'; error: PlainError }
>

export const monotonicMs = (): number => Number(process.hrtime.bigint() / 1_000_000n)
