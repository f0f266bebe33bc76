import { join } from 'node:path'

/** Where the project lies, or the package: both the source and what is built of it are one directory below. */
export const root = join(import.meta.dirname, '..')
