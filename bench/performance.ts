/** `npm run bench`: what the service costs beside the work itself, each figure beside its floor. */
import { parseArgs } from 'node:util'
import { type Table, toMarkdown } from './performance/figures.ts'
import { handover } from './performance/handover.ts'

type Bench = (say: (line: string) => void) => Promise<Table>

const benches: Record<string, Bench> = { handover }

const { positionals } = parseArgs({ allowPositionals: true })
for (const [name, bench] of Object.entries(benches)) {
  if (positionals.length > 0 && !positionals.includes(name)) continue
  const table = await bench((line) => process.stderr.write(`${name}: ${line}\n`))
  process.stdout.write(`\n${toMarkdown(table)}\n`)
}
