/** What the error codes of SQLite and of the system mean. */

export const isDiskFull = (error: unknown): boolean => {
  const { code } = error as { code?: string }
  return code === 'SQLITE_FULL' || code === 'ENOSPC' || code === 'EDQUOT'
}

/** Errors that a full disk may be behind. */
export const isWriteError = (error: unknown): boolean =>
  /^SQLITE_(IOERR|CANTOPEN)/.test((error as { code?: string }).code ?? '')

/** Another program holds the write lock. */
export const isLocked = (error: unknown): boolean =>
  /^SQLITE_(BUSY|LOCKED)/.test((error as { code?: string }).code ?? '')
