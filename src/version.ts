import { readFileSync } from 'node:fs'

const manifest = new URL('../package.json', import.meta.url)

/** Of the service and of all that comes with it. */
export const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }
