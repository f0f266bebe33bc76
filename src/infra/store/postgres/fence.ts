/**
 * The fence of the database. Each leader has a term, larger than that of all leaders before. Every
 * transaction first locks the row of the leader by its term: a service that was replaced cannot commit
 * any more, and two transactions of the same service take turns as they do in SQLite.
 */

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

/** In one round trip. `durably`: the server would confirm before it has written. */
export function beginOf({ term }: Pick<Fence, 'term'>, durably: boolean): string {
  const statements = [
    'begin',
    `set local idle_in_transaction_session_timeout = ${maxIdleInTransactionMs}`,
    ...(durably ? ['set local synchronous_commit = on'] : []),
    ...(term === undefined ? [] : [`select 1 from leader where term = ${term} for update`]),
  ]
  return statements.join('; ')
}
