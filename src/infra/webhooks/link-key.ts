import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { isDiskFull } from '../store/sqlite/sqlite-errors.ts'

const keyBytes = 32

/** What links to files are signed with: kept, so that they outlive a restart; lost, they only expire. */
export function readLinkKey(path: string): Buffer {
  const kept = readIfThere(path)
  if (kept?.length === keyBytes) return kept
  const key = randomBytes(keyBytes)
  try {
    writeFileSync(path, key, { mode: 0o600 })
  } catch (error) {
    // A full disk keeps nobody from starting: the key is then good for this life.
    if (!isDiskFull(error)) throw error
  }
  return key
}

function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path)
  } catch (error) {
    if ((error as { code?: string }).code !== 'ENOENT') throw error
    return undefined
  }
}
