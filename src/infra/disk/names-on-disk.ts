/** Names in the directory of results, compared without letter case and Unicode form. */
import { opendir, stat } from 'node:fs/promises'
import { isOwnName, nameKey } from '../../domain/filename.ts'

export type NamesOnDisk = {
  /** Whether an entry has this name, perhaps in other letters: a file, a directory, a broken link. */
  has(filename: string): Promise<boolean>
}

/** Entries are read in portions, so that a large directory does not hold up other work. */
const readAtOnce = 512

/** A directory that changed shortly before a scan may change again without getting a later time. */
const settledMs = 2_000

/**
 * Keeps the keys of all entries that somebody could ask for. The directory is read again only when
 * it has changed since the last scan. Checks that arrive during a scan share the next one.
 */
export function createNamesOnDisk(directory: string): NamesOnDisk {
  /** The key of each entry. To compute all of them again takes longer than to read the directory. */
  let keys = new Map<string, string>()
  let taken = new Set<string>()
  let scanned: bigint | undefined
  let current: Promise<void> = Promise.resolve()
  let next: Promise<void> | undefined

  return {
    async has(filename) {
      next ??= current.then(() => {
        next = undefined
        const scan = refresh()
        current = scan.catch(() => {})
        return scan
      })
      await next
      return taken.has(nameKey(filename))
    },
  }

  async function refresh(): Promise<void> {
    const { mtimeNs, mtimeMs } = await stat(directory, { bigint: true })
    if (mtimeNs === scanned) return
    const isSettled = Date.now() - Number(mtimeMs) > settledMs
    const found = new Map<string, string>()
    const foundKeys = new Set<string>()
    for await (const { name } of await opendir(directory, { bufferSize: readAtOnce })) {
      if (name.startsWith('.') || isOwnName(name)) continue
      const key = keys.get(name) ?? nameKey(name)
      found.set(name, key)
      foundKeys.add(key)
    }
    keys = found
    taken = foundKeys
    scanned = isSettled ? mtimeNs : undefined
  }
}
