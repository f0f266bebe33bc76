/** Errors between threads: a structured clone keeps neither the class of an error nor its code. */
import SQLite from 'better-sqlite3'
import { DiskFullError, StoreLockedError } from '../../../../domain/errors.ts'
import { UnusableDatabaseError } from '../../unusable-database.ts'
import { DeposedError } from '../ownership.ts'

export type PlainError = Readonly<{
  name: string
  message: string
  code?: string
  stack?: string
  cause?: PlainError
}>

/** Classes that the main thread tells apart. All others arrive as `Error`, with name and code. */
const classes: Readonly<Record<string, new (message: string, options?: ErrorOptions) => Error>> = {
  DiskFullError,
  StoreLockedError,
  DeposedError,
  UnusableDatabaseError,
}

export function toPlainError(error: unknown): PlainError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) }
  const { name, message, stack, cause } = error
  const { code } = error as { code?: unknown }
  return {
    name,
    message,
    ...(typeof code === 'string' && { code }),
    ...(stack !== undefined && { stack }),
    ...(cause !== undefined && { cause: toPlainError(cause) }),
  }
}

export function toError({ name, message, code, stack, cause }: PlainError): Error {
  const options = cause && { cause: toError(cause) }
  const error = create()
  return Object.assign(error, { ...(stack !== undefined && { stack }), ...options })

  function create(): Error {
    const known = classes[name]
    if (known) return new known(message)
    if (name === 'SqliteError' && code) return new SQLite.SqliteError(message, code)
    return Object.assign(new Error(message), { name, ...(code !== undefined && { code }) })
  }
}
