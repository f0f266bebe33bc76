/** What a generation could leave in the place of a file. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { onTestFinished } from 'vitest'

/** Each puts something at the path that is no regular file. */
export const irregularFiles: readonly (readonly [what: string, put: (path: string) => unknown])[] =
  [
    ['a FIFO', (path) => execFileSync('mkfifo', [path])],
    ['a directory', (path) => mkdirSync(path)],
    ['a link to a file', (path) => symlinkSync('/etc/hostname', path)],
    ['a link to a device without an end', (path) => symlinkSync('/dev/zero', path)],
    ['a link to nothing', (path) => symlinkSync('/no/such/file', path)],
    ['a socket', (path) => aSocket(path)],
  ]

/** A file of this length in which nothing is written. */
export function aFileOfHoles(path: string, bytes: number): void {
  writeFileSync(path, '')
  truncateSync(path, bytes)
}

async function aSocket(path: string): Promise<void> {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(path, resolve))
  onTestFinished(() => void server.close())
}
