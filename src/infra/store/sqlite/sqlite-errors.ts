/** What the error codes of SQLite and of the system mean. */

/**
 * `full`: no room. `failing`: a write was refused, and SQLite has lost the reason, which may be a quota,
 * a full or read-only disk, a fault, or a lack of descriptors or memory. In both cases nothing was
 * written, the database is sound, and the same write may succeed later.
 */
export type WriteTrouble = 'full' | 'failing'

/** Undefined: waiting does not help, as with a damaged database or a change that breaks a constraint. */
export function writeTroubleOf(error: unknown): WriteTrouble | undefined {
  const code = codeOf(error)
  return troubles.find(({ codes }) => codes.test(code))?.trouble
}

const troubles: readonly Readonly<{ trouble: WriteTrouble; codes: RegExp }>[] = [
  { trouble: 'full', codes: /^(?:SQLITE_FULL|ENOSPC|EDQUOT)$/ },
  // SQLite opens files by itself, such as those of a large sort: without a descriptor it cannot.
  { trouble: 'failing', codes: /^(?:SQLITE_CANTOPEN|SQLITE_NOMEM)/ },
  // All of its system calls but those that say that what was read is wrong or belongs to another.
  { trouble: 'failing', codes: /^SQLITE_IOERR(?!_(?:DATA|CORRUPTFS|AUTH|VNODE)$)/ },
  // The file system was mounted read-only, as the kernel does after an error of the disk.
  { trouble: 'failing', codes: /^SQLITE_READONLY(?!_(?:DBMOVED|DIRECTORY)$)/ },
  { trouble: 'failing', codes: /^(?:EIO|EROFS|ESTALE|EMFILE|ENFILE|ENOMEM)$/ },
]

export const isDiskFull = (error: unknown): boolean => writeTroubleOf(error) === 'full'

/** For the log, for clients, and for the operator. */
export const describeTrouble: Readonly<Record<WriteTrouble, string>> = {
  full: 'the database has no room to write',
  failing:
    'the database cannot be written: its disk is over a quota, full, read-only or failing, or the ' +
    'service has no descriptors or memory left',
}

/** Another program holds the write lock. */
export const isLocked = (error: unknown): boolean => /^SQLITE_(BUSY|LOCKED)/.test(codeOf(error))

function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown }
  return typeof code === 'string' ? code : ''
}
