/** Locks that keep two services from sharing a data directory or a database. */
import { mkdirSync, readFileSync, readlinkSync, realpathSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import SQLite from 'better-sqlite3'

export type Lock = Readonly<{
  /** The lock file. */
  path: string
  release(): void
}>

export function lockDirectory(directory: string): Lock {
  mkdirSync(directory, { recursive: true })
  return takeLock(join(directory, 'service'), (pid) => {
    const owner = `${directory} is in use by another wan-supervisor (pid ${pid}). `
    return `${owner}Stop that one first, or give this one its own DATA_DIR.`
  })
}

/**
 * The lock file is beside the file that `stateDb` leads to, so a symbolic link and another DATA_DIR
 * meet the same lock. `makeRoom` frees an inode on a disk that has none.
 */
export function lockDatabase(stateDb: string, makeRoom: () => boolean = () => false): Lock {
  const take = () =>
    takeLock(resolveLinks(stateDb), (pid) => {
      const owner = `${stateDb} is in use by another wan-supervisor (pid ${pid}). `
      return `${owner}Stop that one first, or give this one its own STATE_DB.`
    })
  try {
    return take()
  } catch (error) {
    if (codeOf(error) === 'SQLITE_CANTOPEN' && makeRoom()) return take()
    throw error
  }
}

/**
 * Held until the process ends, however it ends: the kernel releases a file lock with its process,
 * which neither a pid file nor a heartbeat can promise. Node has no flock; SQLite has.
 */
function takeLock(name: string, describeOwner: (pid: string) => string): Lock {
  const path = `${name}.lock`
  const pidFile = `${name}.pid`
  const lock = open(path)
  try {
    lock.pragma('journal_mode = MEMORY')
    lock.pragma('locking_mode = EXCLUSIVE')
    lock.exec('BEGIN EXCLUSIVE')
  } catch (error) {
    lock.close()
    if (codeOf(error) !== 'SQLITE_BUSY') throw error
    throw new Error(describeOwner(readPid(pidFile)), { cause: error })
  }
  notePid(pidFile)
  held.add(lock)
  return {
    path,
    release() {
      held.delete(lock)
      lock.close()
    },
  }
}

function open(path: string): SQLite.Database {
  try {
    return new SQLite(path, { timeout: 0 })
  } catch (cause) {
    const { code, message } = cause as Error & { code?: string }
    const help = 'Check that its directory exists and belongs to the user the service runs as.'
    const error = new Error(`${path} cannot be created (${message}). ${help}`, { cause })
    throw Object.assign(error, { code })
  }
}

/** Out of reach of the garbage collector, which would release a lock that nobody refers to. */
const held = new Set<SQLite.Database>()

const maxLinks = 40

/** Like `realpath`, but the file itself need not exist yet. */
function resolveLinks(path: string, links = 0): string {
  try {
    return realpathSync(path)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT' || links === maxLinks) throw error
  }
  const place = join(realpathSync(dirname(path)), basename(path))
  const target = targetOf(place)
  return target === undefined ? place : resolveLinks(resolve(dirname(place), target), links + 1)
}

function targetOf(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

/** For a message only: a full disk keeps nobody from starting. */
function notePid(pidFile: string): void {
  try {
    writeFileSync(pidFile, `${process.pid}\n`)
  } catch (error) {
    if (codeOf(error) !== 'ENOSPC' && codeOf(error) !== 'EDQUOT') throw error
  }
}

function readPid(pidFile: string): string {
  try {
    return readFileSync(pidFile, 'utf8').trim()
  } catch {
    return 'unknown'
  }
}

const codeOf = (error: unknown): string | undefined => (error as { code?: string }).code
