import { readFileSync } from 'node:fs'

/** As most systems have it, where it cannot be read. */
const usualLimit = 1_024

/** Open files that this process may have. Node raises the soft limit to the hard one when it starts. */
export function readFileLimit(path = '/proc/self/limits'): number {
  try {
    return parseFileLimit(readFileSync(path, 'utf8'))
  } catch {
    return usualLimit
  }
}

/** Of the lines of `/proc/{pid}/limits`. */
export function parseFileLimit(limits: string): number {
  const [, soft] = /^Max open files\s+(\S+)/m.exec(limits) ?? []
  return soft === 'unlimited' ? Infinity : Number(soft) || usualLimit
}
