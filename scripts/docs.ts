/**
 * `npm run docs`: writes what the documentation takes from the code, and looks where its links lead.
 * `--check` writes nothing and only compares.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { settings } from '../src/config/settings.ts'
import { deadLinks } from './dead-links.ts'
import { replaceBlock } from './written-block.ts'

const root = join(import.meta.dirname, '..')
const path = join(root, 'docs', 'configuration.md')

const rows = settings.map(
  ({ name, otherwise, about }) => `| \`${name}\` | ${otherwise} | ${about} |\n`,
)
const content = ['| variable | default | |\n', '|---|---|---|\n', ...rows].join('')

const text = readFileSync(path, 'utf8')
const wanted = replaceBlock(text, { name: 'settings', by: 'npm run docs', content })

const faults: string[] = []
if (text !== wanted) {
  if (process.argv.includes('--check'))
    faults.push('docs/configuration.md differs from src/config/settings.ts: run npm run docs')
  else writeFileSync(path, wanted)
}
faults.push(...deadLinks(root))
for (const fault of faults) process.stderr.write(`${fault}\n`)
if (faults.length > 0) process.exitCode = 1
