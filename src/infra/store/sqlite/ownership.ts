/**
 * The fence of the database. A lock file can be removed, and then a second service can start. So the
 * owner also writes a random number into `user_version`, a field of the header that nothing else
 * uses, and every transaction checks it: a service that was replaced cannot commit any more.
 */
import { randomInt } from 'node:crypto'
import type SQLite from 'better-sqlite3'

/** Another service has taken the database over. Nothing of the transaction is stored. */
export class DeposedError extends Error {
  override readonly name = 'DeposedError'
}

export type Ownership = Readonly<{
  /** Throws `DeposedError` when this connection is no longer that of the owner. */
  check(): void
  /** Writes the number again: a write that changes nothing. */
  renew(): void
}>

const maxNumber = 2 ** 31 - 1

/** Takes the database over from any earlier owner. */
export function takeOwnership(sqlite: SQLite.Database, path: string): Ownership {
  const number = randomInt(1, maxNumber)
  const read = sqlite.prepare('pragma user_version').pluck()
  const renew = () => void sqlite.pragma(`user_version = ${number}`)
  sqlite.transaction(renew).immediate()
  return {
    check() {
      if (read.get() === number) return
      throw new DeposedError(`Another wan-supervisor has taken over ${path}.`)
    },
    renew,
  }
}
