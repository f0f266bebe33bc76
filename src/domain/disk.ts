export type Disk = Readonly<{
  place: DiskPlace
  path: string
  freeBytes: number
  /** Files and directories that can still be created. Absent: the file system has no fixed number. */
  freeFiles?: number
  /** All of them together, used or not. */
  files?: number
}>

/** What is written there. */
export const diskPlaces = ['work', 'results', 'logs', 'database'] as const

export type DiskPlace = (typeof diskPlaces)[number]

/** What a disk is short of. `files`: inodes, of which each file and directory takes one. */
export type Shortage = 'bytes' | 'files'

/**
 * A generation creates about 15 files, its conversion and log 3 more, and several run at once. On a
 * file system with few inodes the limit is 5 % of them, so that it can be used at all.
 */
const maxReservedFiles = 256
const minReservedFiles = 32
const reservedShare = 0.05

/** With fewer free inodes on any disk no job is taken or started. */
export const minFreeFiles = (files: number): number =>
  Math.min(maxReservedFiles, Math.max(minReservedFiles, Math.floor(files * reservedShare)))

/** With less than that nothing can be counted on to be written. */
const nothingBytes = 64 * 1024

type Room = Pick<Disk, 'freeBytes' | 'freeFiles' | 'files'>

/** `minFreeBytes` 0: as long as there is any room. */
export function shortageOf(
  { freeBytes, freeFiles, files = 0 }: Room,
  minFreeBytes: number,
): Shortage | undefined {
  if (freeBytes < (minFreeBytes || nothingBytes)) return 'bytes'
  if (freeFiles === undefined) return undefined
  return freeFiles < (minFreeBytes > 0 ? minFreeFiles(files) : 1) ? 'files' : undefined
}

/** A failed attempt has removed its own files again, so the last free inodes prove no room. */
const minFilesOfAttempt = 16

/** Whether a failure on such a disk is one of the disk. */
export const isFull = ({ freeBytes, freeFiles = minFilesOfAttempt }: Room): boolean =>
  freeBytes < nothingBytes || freeFiles < minFilesOfAttempt
