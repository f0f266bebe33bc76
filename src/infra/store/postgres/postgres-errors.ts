/** Meaning of the error codes of PostgreSQL, of its driver and of the network. */
import { DatabaseUnreachableError, DiskFullError } from '../../../domain/errors.ts'

/** SQLSTATE codes: https://www.postgresql.org/docs/current/errcodes-appendix.html */
const full = /^53100$/

/**
 * Nobody answers, or the server cannot serve now: lost connections (08), a server that stops, crashes or
 * starts (57P), too many connections or too little memory (53), a transaction that was ended for being idle
 * (25P03), a standby that takes no writes (25006), I/O errors of its disk (58), a statement that was ended by a
 * limit or an administrator, a lock or a deadlock (57014, 55P03, 40), a password that is no longer right, a database
 * that is gone or takes no connections (28, 3D000, 55000).
 */
const unreachable =
  /^(?:08...|57014|57P0[1235]|55P03|55000|40001|40P01|53[234]00|25P03|25006|58...|28...|3D000)$/

/** Gone while an operator restores the database: rights, the schema, tables. The connection can be used. */
const missing = /^(?:42501|3F000|42P01)$/

/** Codes of Node. */
const network =
  /^(?:ECONNREFUSED|ECONNRESET|ECONNABORTED|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|EHOSTDOWN|ENETUNREACH|ENETDOWN|ENETRESET|EADDRNOTAVAIL|EPERM|EPROTO|ENOENT|EMFILE|ENFILE)$/

/** Errors of the driver that have no code. */
const driver =
  /^(?:Connection terminated|Query read timeout|timeout expired|timeout exceeded when trying to connect|Client has encountered a connection error|Client was closed|Cannot use a pool after calling end)/

/** Errors that callers know how to handle. All others are returned as they are. */
export function toStoreError(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const code = codeOf(error)
  if (full.test(code)) {
    return new DiskFullError('the disk of the PostgreSQL server is full', { cause: error })
  }
  if (isConnectionLost(error) || missing.test(code)) {
    return new DatabaseUnreachableError(`PostgreSQL cannot be used (${reasonOf(error)})`, {
      cause: error,
    })
  }
  return error
}

/** A statement after the failed one of its transaction. */
export const isAborted = (error: unknown): boolean =>
  error instanceof Error && codeOf(error) === '25P02'

export const isConnectionLost = (error: Error): boolean => {
  const code = codeOf(error)
  return unreachable.test(code) || network.test(code) || driver.test(error.message)
}

/** Two addresses of one name that both refuse are one error without a message. */
function reasonOf(error: Error): string {
  const [first] = error instanceof AggregateError ? error.errors : []
  return error.message || (first instanceof Error ? first.message : codeOf(error))
}

function codeOf(error: Error): string {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' ? code : ''
}
