/** How much room the file system of a directory has. */
import { statfsSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { type Disk, isFull } from '../../domain/disk.ts'

export type FreeSpace = Pick<Disk, 'freeBytes' | 'freeFiles' | 'files'>

export const freeSpace = async (directory: string): Promise<FreeSpace> =>
  toFreeSpace(await statfs(directory))

/** Whether it is full, of bytes or of files. False where that cannot be found out. */
export function hasNoRoom(directory: string): boolean {
  try {
    return isFull(toFreeSpace(statfsSync(directory)))
  } catch {
    return false
  }
}

/**
 * Without what is kept for root. btrfs and others create inodes as they need them and report 0 of
 * them; then their number is unknown, not exhausted.
 */
const toFreeSpace = ({
  bavail,
  bsize,
  files,
  ffree,
}: Readonly<Record<'bavail' | 'bsize' | 'files' | 'ffree', number>>): FreeSpace => ({
  freeBytes: bavail * bsize,
  ...(files > 0 && { freeFiles: ffree, files }),
})
