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
  /** Called after each commit in this term. It is a beat, sent at `beganAt` by the monotonic clock, in milliseconds. */
  onCommitted?(beganAt: number): void
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

/** `maxStatementMs`: time limit of each statement; `undefined`: none, also where the role or the database has one. */
export type TransactionLimits = Readonly<{ maxStatementMs: number | undefined }>

/** Also where the role or the database asks for more: each transaction waits its turn and then sees what is there. */
const begin = 'begin isolation level read committed'

/**
 * In one round trip. Where the server confirms commits before they are on disk, this transaction asks for more.
 * `number`: to be written into the row of the leader.
 */
export const beginOf = (
  { term }: Pick<Fence, 'term'>,
  limits: TransactionLimits,
  number?: number,
): string =>
  [
    begin,
    ...settingsOf(limits),
    ...(term === undefined ? [] : [durably, lockOf(term, number)]),
  ].join('; ')

/** A read by itself. It is not fenced. */
export const beginToRead = (limits: TransactionLimits): string =>
  [`${begin} read only`, ...settingsOf(limits)].join('; ')

/**
 * The server ends a statement when its client has given it up, and a transaction of a client that froze. The settings
 * are those of one transaction: a pooler gives the connection to other clients afterwards. JIT takes longer to compile the
 * statements of this service than they take without it.
 */
const settingsOf = ({ maxStatementMs }: TransactionLimits): string[] => [
  'set local jit = off',
  `set local statement_timeout = ${maxStatementMs ?? 0}`,
  ...(maxStatementMs === undefined
    ? []
    : [`set local idle_in_transaction_session_timeout = ${maxIdleInTransactionMs}`]),
]

const durably = `select set_config('synchronous_commit', 'on', true)
  where current_setting('synchronous_commit') = 'off'`

/** A commit is a beat too: beats are left out while it holds the row, and it may take long. */
const lockOf = (term: number, number: number | undefined): string =>
  `update leader set beat = beat + 1${number === undefined ? '' : `, written = ${number}`}
   where term = ${term}`
