import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Root directory of the project: in a checkout, in an installed package, in an image. */
export const root = findRoot(import.meta.dirname)

/** The sources and the built files are at different depths; both are below one `package.json`. */
function findRoot(directory: string): string {
  if (existsSync(join(directory, 'package.json'))) return directory
  const parent = dirname(directory)
  if (parent === directory) throw new Error(`${import.meta.dirname} is in no package`)
  return findRoot(parent)
}
