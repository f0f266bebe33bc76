/** `npm run docs`: writes what the documentation takes from the code. `--check` only compares. */
import { readFileSync, writeFileSync } from 'node:fs'
import { settings } from '../src/settings.ts'
import { replaceBlock } from './written-block.ts'

const path = new URL('../docs/configuration.md', import.meta.url)

const rows = settings.map(
  ({ name, otherwise, about }) => `| \`${name}\` | ${otherwise} | ${about} |\n`,
)
const content = ['| variable | default | |\n', '|---|---|---|\n', ...rows].join('')

const text = readFileSync(path, 'utf8')
const wanted = replaceBlock(text, { name: 'settings', by: 'npm run docs', content })

if (text === wanted) process.exit(0)
if (process.argv.includes('--check')) {
  process.stderr.write('docs/configuration.md differs from src/settings.ts: run npm run docs\n')
  process.exit(1)
}
writeFileSync(path, wanted)
