import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './root.ts'

const manifest = readFileSync(join(root, 'package.json'), 'utf8')

/** Of the service and of all that comes with it. */
export const { version } = JSON.parse(manifest) as { version: string }
