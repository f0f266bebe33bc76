/** Room kept back on the disk of the database, so that what has happened can be written on a full one. */
import { randomBytes } from 'node:crypto'
import { existsSync, rmSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { freeSpace, hasNoRoom } from './free-space.ts'

export type Reserve = {
  /** Whether there was something to give. Only what must be written is worth it. */
  release(): boolean
  /** Makes it again when there is so much room that it will not be missed. */
  restore(): Promise<void>
  /** Whether its disk has no room left to speak of. */
  isDiskFull(): boolean
}

const reserveBytes = 1024 ** 2
const roomForReserve = 16 * 1024 ** 2

export function createReserve(path: string): Reserve {
  return {
    release() {
      if (!existsSync(path)) return false
      rmSync(path, { force: true })
      return true
    },

    async restore() {
      if (existsSync(path)) return
      const { freeBytes } = await freeSpace(dirname(path))
      if (freeBytes < roomForReserve) return
      const unfinished = `${path}.unfinished`
      try {
        const file = await open(unfinished, 'w', 0o600)
        try {
          // Random, for a file system that compresses would make nothing of zeros.
          await file.writeFile(randomBytes(reserveBytes))
          await file.sync()
        } finally {
          await file.close()
        }
        await rename(unfinished, path)
      } catch (error) {
        await rm(unfinished, { force: true })
        throw error
      }
    },

    isDiskFull: () => hasNoRoom(dirname(path)),
  }
}
