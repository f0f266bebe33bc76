/** A file system of some MiB that can really be full: a tmpfs, which only root may mount. */
import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmdirSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export type SmallDisk = ReturnType<typeof mountSmallDisk>

export const canMount: boolean = (() => {
  const directory = mkdtempSync(join(tmpdir(), 'disk-'))
  try {
    mount(directory, 'size=64k')
    unmount(directory)
    return true
  } catch {
    return false
  } finally {
    rmdirSync(directory)
  }
})()

/** `files`: the largest number of files and directories. */
export function mountSmallDisk({ mib = 24, files = 1_000 } = {}) {
  const path = mkdtempSync(join(tmpdir(), 'disk-'))
  mount(path, `size=${mib}m,nr_inodes=${files}`)
  const filler = join(path, 'filler')

  return {
    path,
    /** Takes all room but so much. */
    fill({ leaving = 0 } = {}): void {
      const fd = openSync(filler, 'a')
      const block = Buffer.alloc(4096)
      try {
        for (let left = free(path) - leaving; left > 0; left -= block.length) writeSync(fd, block)
      } catch (error) {
        if ((error as { code?: string }).code !== 'ENOSPC') throw error
      } finally {
        closeSync(fd)
      }
    },
    /** Leaves room for only so many files and directories more, however small. */
    fillWithFiles({ leaving }: { leaving: number }): void {
      const left = statfsSync(path).ffree - leaving
      for (let n = 0; n < left; n++) closeSync(openSync(`${filler}-${n}`, 'wx'))
    },
    makeRoom(): void {
      rmSync(filler, { force: true })
      for (let n = 0; n < files; n++) rmSync(`${filler}-${n}`, { force: true })
    },
    [Symbol.dispose](): void {
      unmount(path)
      rmdirSync(path)
    },
  }
}

function free(path: string): number {
  const { bavail, bsize } = statfsSync(path)
  return bavail * bsize
}

function mount(directory: string, options: string): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', directory], { stdio: 'pipe' })
}

function unmount(directory: string): void {
  // Lazily: what a killed service left may still be on its way out.
  execFileSync('umount', ['-l', directory], { stdio: 'pipe' })
}
