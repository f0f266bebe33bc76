/** `npm run bench`: what the service costs beside the work itself, each figure beside its floor. */
import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { replaceBlock } from '../scripts/written-block.ts'
import { clusterScale } from './performance/cluster-scale.ts'
import { election } from './performance/election.ts'
import { failover } from './performance/failover.ts'
import { type Report, toMarkdown } from './performance/figures.ts'
import { files } from './performance/files.ts'
import { forwarding } from './performance/forwarding.ts'
import { handover } from './performance/handover.ts'
import { hostile } from './performance/hostile.ts'
import { idleShare } from './performance/idle-share.ts'
import { machine } from './performance/machine.ts'
import { mail } from './performance/mail.ts'
import { measurePieces } from './performance/pieces.ts'
import { polls } from './performance/polls.ts'
import { postgres } from './performance/postgres.ts'
import { queue } from './performance/queue.ts'
import { readings } from './performance/readings.ts'
import { rest } from './performance/rest.ts'
import { scale } from './performance/scale.ts'
import { soak } from './performance/soak.ts'
import { streams } from './performance/streams.ts'
import { submits } from './performance/submits.ts'
import { warmHandover } from './performance/warm-handover.ts'
import { warmMemory } from './performance/warm-memory.ts'

/** Page of each table that is not in docs/performance.md. */
const pages: Readonly<Record<string, string>> = {
  'warm-handover': 'warm-start.md',
  'idle-share': 'warm-start.md',
  'warm-memory': 'warm-start.md',
}

/** A soak of so many is not replaced by that of a whole run, which is short. */
const longMinutes = 30

type Say = (line: string) => void

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: 'string', default: '1' },
    'fsync-ms': { type: 'string', default: '0' },
    pairs: { type: 'string', default: '4' },
    nodes: { type: 'string', default: '100' },
    dry: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

const benches: Record<string, (say: Say) => Promise<Report>> = {
  handover,
  'warm-handover': warmHandover,
  'idle-share': idleShare,
  'warm-memory': warmMemory,
  queue,
  polls,
  submits,
  postgres,
  pieces: (say) => measurePieces(say, Number(values.pairs)),
  scale,
  readings,
  files,
  rest: (say) => rest(say, Number(values.minutes)),
  soak: (say) =>
    soak(say, { minutes: Number(values.minutes), fsyncMs: Number(values['fsync-ms']) }),
  hostile,
  mail,
  election,
  failover,
  forwarding,
  streams,
  'cluster-scale': (say) => clusterScale(say, Number(values.nodes)),
}

const help = `npm run bench -- [benchmark…] [options]

Without a name: all of them, one after the other. Each prints its table and writes it into docs/performance.md, or docs/warm-start.md.
Let nothing else run meanwhile.

  ${Object.keys(benches).join(', ')}

  --minutes N      of the soak (1; its long form, of ${longMinutes}, has a table of its own) and at rest (1)
  --fsync-ms N     of the soak: how much longer each fsync takes than on this disk (0; needs a C compiler)
  --pairs N        of services, for each of the pieces (4; an even number)
  --nodes N        of a large cluster, besides the leader and its successor (100)
  --dry            write nothing into the documentation
`

const unknown = positionals.find((name) => !(name in benches))
if (values.help) process.stdout.write(help)
else if (unknown !== undefined) {
  process.stderr.write(`there is no benchmark "${unknown}"\n\n${help}`)
  process.exitCode = 2
} else await main()

async function main(): Promise<void> {
  write('machine', `${machine()}\n`)
  for (const [name, bench] of Object.entries(benches)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue
    const report = await bench((line) => process.stderr.write(`${name}: ${line}\n`))
    const form = formOf(name)
    const text = toText(form.command, report)
    process.stdout.write(`\n${text}`)
    write(form.table, text)
  }
}

/** Long soaks, and those on a slow disk, have tables of their own. */
function formOf(name: string): Readonly<{ command: string; table: string }> {
  const { minutes, 'fsync-ms': fsyncMs } = values
  if (name !== 'soak') return { command: name, table: name }
  if (fsyncMs !== '0') {
    return { command: `soak --minutes ${minutes} --fsync-ms ${fsyncMs}`, table: 'slow-disk-soak' }
  }
  return Number(minutes) >= longMinutes
    ? { command: `soak --minutes ${minutes}`, table: 'long-soak' }
    : { command: name, table: name }
}

function toText(name: string, { how, tables }: Report): string {
  const today = new Date().toISOString().slice(0, 10)
  const head = `\`npm run bench -- ${name}\` on ${today}; ${how}.\n`
  return [head, ...tables.map(toMarkdown)].join('\n')
}

function write(name: string, content: string): void {
  if (values.dry) return
  const page = new URL(`../docs/${pages[name] ?? 'performance.md'}`, import.meta.url)
  const text = readFileSync(page, 'utf8')
  writeFileSync(page, replaceBlock(text, { name, by: 'npm run bench', content }))
}
