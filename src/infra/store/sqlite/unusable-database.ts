/** Reasons to refuse a database, in words for the operator. */
import { readFileSync, realpathSync, statSync } from 'node:fs'
import { UnusableDatabaseError } from '../unusable-database.ts'
import { isDiskFull } from './sqlite-errors.ts'

export const isEmptyFile = (path: string): boolean =>
  (statSync(path, { throwIfNoEntry: false })?.size ?? 0) === 0

export const jobsGone = (path: string): UnusableDatabaseError =>
  new UnusableDatabaseError(
    `${path} is missing or empty, but the work files, videos or backups of earlier jobs are there. ` +
      'Put the database back, or a backup of it: docs/operations.md says how. To begin anew without ' +
      'those jobs, move their files away first.',
  )

/**
 * SQLite names the journal after the path of the database. Two paths to one file mean two journals,
 * and each side overwrites the changes of the other.
 */
export function refuseSecondPath(path: string): void {
  const file = statSync(path, { throwIfNoEntry: false })
  if (!file?.isFile()) return
  if (file.nlink > 1) {
    throw new UnusableDatabaseError(
      `${path} has ${file.nlink} hard links. Its journal belongs to one path, so use through another ` +
        `path would destroy it. Remove the other links: find / -xdev -inum ${file.ino}`,
    )
  }
  if (isMountPoint(realpathSync(path))) {
    throw new UnusableDatabaseError(
      `${path} is mounted as a single file. Its journal (${path}-wal) would be outside the mount, and ` +
        'changes would be lost. Mount the directory of the database instead.',
    )
  }
}

function isMountPoint(path: string): boolean {
  try {
    return readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .some((line) => unescapeMount(line.split(' ')[4] ?? '') === path)
  } catch {
    return false
  }
}

/** The kernel writes spaces and the like as octal numbers. */
const unescapeMount = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 8)))

/** What SQLite says in codes, said in words. */
export function explained<T>(path: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof UnusableDatabaseError) throw error
    const { code = '', message } = error as { code?: string; message: string }
    const why = `(${code ? `${code}: ` : ''}${message})`
    throw new UnusableDatabaseError(explain(), { cause: error })

    function explain(): string {
      if (/^SQLITE_(BUSY|LOCKED)/.test(code)) {
        return `${path} is locked by another program. Close that one, such as a database browser, and start again.`
      }
      if (/^SQLITE_(CORRUPT|NOTADB)/.test(code)) {
        return `${path} is damaged ${why}. Put back a backup: docs/operations.md says how.`
      }
      if (isDiskFull(error)) {
        return `There is no room on the disk of ${path}. Make some, a few MiB at least, and start again.`
      }
      if (code.startsWith('SQLITE_IOERR')) {
        return `${path} cannot be read or written ${why}. Look for errors of its disk in the kernel log, and whether that disk is full.`
      }
      return `${path} cannot be opened for writing ${why}. Check that it is a file, and that it and its directory belong to the user the service runs as.`
    }
  }
}
