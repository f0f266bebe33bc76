/**
 * Writes one change after the other, and finds out what became of a commit whose answer was lost. Each
 * change writes its number into the row of the leader: when the server answers again, that number says
 * whether the change was stored.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import pLimit from 'p-limit'
import { DatabaseUnreachableError } from '../../../domain/errors.ts'
import type { Database } from '../schema.ts'
import { transact } from '../transact.ts'
import { numberedBegin } from './fence.ts'

/** Time that a change waits for a server that restarts. Shorter than the patience of a request, 5 s. */
const maxPatienceMs = 3_000
const pauseMs = 100

export type Line = Readonly<{
  /**
   * `written`: durable. `surprised`: nothing of this change, but an earlier one of this line, which was
   * reported as unreachable, is stored after all. Rejects with `DatabaseUnreachableError`, or with what
   * `work` throws.
   */
  write(work: (connection: Kysely<Database>) => Promise<void>): Promise<'written' | 'surprised'>
  /** Waits for the end of earlier changes, and forgets surprises: everything is read anew. */
  startAnew(): Promise<void>
}>

/** `line`: that of the change. */
type Doubt = Readonly<{ line: Line; number: number; tell(isStored: boolean): void }>

/** One for each term: numbers begin at 1. */
export function createWriter(db: Kysely<Database>) {
  const inTurn = pLimit(1)
  let last = 0
  /** A commit that may be stored. It is settled before the next change. */
  let doubt: Doubt | undefined

  /** A line of changes that one actor makes. */
  function openLine(): Line {
    let isSurprised = false
    const line: Line = {
      write: (work) => inTurn(write, work),
      startAnew: () =>
        inTurn(async () => {
          await settle()
          isSurprised = false
        }),
    }
    return line

    async function write(
      work: (connection: Kysely<Database>) => Promise<void>,
    ): Promise<'written' | 'surprised'> {
      const since = performance.now()
      let fate: boolean | undefined
      for (;;) {
        try {
          await settle()
          if (fate) return 'written'
          if (isSurprised) {
            isSurprised = false
            return 'surprised'
          }
          await attempt(line, work, (isStored) => {
            fate = isStored
          })
          return 'written'
        } catch (error) {
          if (!(error instanceof DatabaseUnreachableError)) throw error
          if (performance.now() - since > maxPatienceMs) throw giveUp(error)
          await delay(pauseMs)
        }
      }
    }

    /** A change of this line that is still in doubt becomes a surprise if it turns out to be stored. */
    function giveUp({ message, cause }: DatabaseUnreachableError): DatabaseUnreachableError {
      const mayBeStored = doubt?.line === line
      if (doubt && mayBeStored) {
        doubt = {
          ...doubt,
          tell(isStored) {
            isSurprised ||= isStored
          },
        }
      }
      return new DatabaseUnreachableError(message, { cause, mayBeStored })
    }
  }

  async function attempt(
    line: Line,
    work: (connection: Kysely<Database>) => Promise<void>,
    tell: (isStored: boolean) => void,
  ): Promise<void> {
    const number = ++last
    let isComplete = false
    try {
      await transact(
        db,
        async (connection) => {
          await work(connection)
          isComplete = true
        },
        numberedBegin(number),
      )
    } catch (error) {
      if (isComplete) doubt = { line, number, tell }
      throw error
    }
  }

  /**
   * The lock of the row waits for a transaction that the server has not ended yet, so what is read
   * under it stays so.
   */
  async function settle(): Promise<void> {
    if (!doubt) return
    const { written } = await transact(db, (connection) =>
      connection.selectFrom('leader').select('written').executeTakeFirstOrThrow(),
    )
    const { number, tell } = doubt
    doubt = undefined
    tell(written === number)
  }

  return { openLine }
}
