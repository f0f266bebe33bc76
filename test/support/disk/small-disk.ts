/** A file system of some MiB that can really be full, for one test. */
import { onTestFinished } from 'vitest'
import { mountSmallDisk, type SmallDisk } from '../../../bench/small-disk.ts'

export { canMount } from '../../../bench/small-disk.ts'

/** Mounted until the end of the test. `files`: the largest number of files and directories. */
export function aSmallDisk(size: { mib?: number; files?: number } = {}): SmallDisk {
  const disk = mountSmallDisk(size)
  onTestFinished(() => disk[Symbol.dispose]())
  return disk
}
