/**
 * The fence of the database. Each leader has a term, larger than that of all leaders before. Every
 * transaction first locks the row of the leader by its term: a service that was replaced cannot commit
 * any more, and two transactions of the same service take turns as they do in SQLite.
 */

import { beginText } from '../transact.ts'

/** Another node leads. Nothing of the transaction is stored. */
export class TermOverError extends Error {
  override readonly name = 'TermOverError'
}

export type Fence = {
  /** Term of this node; `undefined`: it does not lead, and nothing is fenced. */
  term: number | undefined
  /** Called when a transaction has found that the term is over. */
  onOver(error: TermOverError): void
}

/** A leader that froze inside a transaction holds up the next one no longer than this. */
const maxIdleInTransactionMs = 3_000

/** Begins a transaction that writes its number into the row of the leader. Needs a term. */
export const numberedBegin = (number: number): string => `${beginText} ${number}`

/** Whether a text begins a transaction, and the number that it is to write. */
export function parseBegin(text: string): Readonly<{ number?: number }> | undefined {
  if (!text.startsWith(beginText)) return undefined
  const number = text.slice(beginText.length)
  return number === '' ? {} : { number: Number(number) }
}

/**
 * In one round trip. Where the server confirms commits before they are on disk, this transaction asks for more.
 * `number`: to be written into the row of the leader.
 */
export function beginOf({ term }: Pick<Fence, 'term'>, number?: number): string {
  if (term === undefined) return 'begin'
  return [
    'begin',
    `set local idle_in_transaction_session_timeout = ${maxIdleInTransactionMs}`,
    durably,
    lockOf(term, number),
  ].join('; ')
}

const durably = `select set_config('synchronous_commit', 'on', true)
  where current_setting('synchronous_commit') = 'off'`

const lockOf = (term: number, number: number | undefined): string =>
  number === undefined
    ? `select 1 from leader where term = ${term} for update`
    : `update leader set written = ${number} where term = ${term}`
