/** How much room the file system of a directory has. */
import { statfsSync } from 'node:fs'
import { statfs } from 'node:fs/promises'

/** With less than that nothing can be counted on to be written. */
const nothingBytes = 64 * 1024

/** What is left for us, without what is kept for root. */
export async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory)
  return bavail * bsize
}

/** Whether it is full, of bytes or of files. False where that cannot be found out. */
export function hasNoRoom(directory: string): boolean {
  try {
    const { bavail, bsize, files, ffree } = statfsSync(directory)
    return bavail * bsize < nothingBytes || (files > 0 && ffree === 0)
  } catch {
    return false
  }
}
