import SQLite from 'better-sqlite3'
import { describe, expect, it } from 'vitest'
import { DiskFullError } from '../../../../src/domain/errors.ts'
import { withReserve } from '../../../../src/infra/store/sqlite/with-reserve.ts'

describe('a write at the start', () => {
  it.each([
    new SQLite.SqliteError('database or disk is full', 'SQLITE_FULL'),
    new SQLite.SqliteError('disk I/O error', 'SQLITE_IOERR_WRITE'),
    new DiskFullError('the database has no room to write'),
  ])('is repeated without the reserve after "$message"', async (error) => {
    let isReleased = false
    const release = () => {
      isReleased = true
      return true
    }
    const write = async () => {
      if (!isReleased) throw error
      return 'written'
    }
    expect(await withReserve({ release }, write)).toBe('written')
  })

  it('fails when there is no reserve, or when room is not the reason', async () => {
    const full = new DiskFullError('the database has no room to write')
    const damaged = new SQLite.SqliteError('malformed', 'SQLITE_CORRUPT')
    const writes = (error: Error) => () => Promise.reject(error)
    await expect(withReserve({ release: () => false }, writes(full))).rejects.toThrow(full)
    let released = 0
    const release = () => {
      released += 1
      return true
    }
    await expect(withReserve({ release }, writes(damaged))).rejects.toThrow(damaged)
    expect(released).toBe(0)
  })
})
