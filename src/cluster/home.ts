/** Random id of a data directory. The directory is locked, so of two processes with one id, one has ended. */
import { randomUUID } from 'node:crypto'
import { link, open, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'

const pattern = /^[0-9a-f-]{36}$/

/** Reads the id, or chooses it: once and for good, also if the power fails meanwhile. */
export async function readHome(directory: string): Promise<string> {
  const path = join(directory, 'home')
  const known = await readFile(path, 'utf8').catch(codeENOENT)
  if (known !== undefined) return checked(path, known.trim())
  const home = randomUUID()
  const unfinished = join(directory, `home.${home}`)
  try {
    const file = await open(unfinished, 'wx', 0o600)
    try {
      await file.writeFile(`${home}\n`)
      await file.sync()
    } finally {
      await file.close()
    }
    await link(unfinished, path)
  } finally {
    await rm(unfinished, { force: true })
  }
  return home
}

function codeENOENT(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}

function checked(path: string, home: string): string {
  if (pattern.test(home)) return home
  throw new Error(
    `${path} does not contain the id of a data directory. Delete it: the next start writes another one, and waits ` +
      'until the cluster counts this node as lost.',
  )
}
