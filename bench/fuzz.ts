/** `npm run fuzz`: sends what the document allows, and what it does not, and tells what came back. */
import { parseArgs } from 'node:util'
import { type FuzzResult, runFuzz } from './fuzz/run.ts'

const help = `npm run fuzz -- [options]

  --requests N   how many (100000)
  --seed N       which (random)
`

/** The most that memory may have grown by, all requests together. */
const maxGrowthMb = 50

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '100000' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
    help: { type: 'boolean', default: false },
  },
})
const [requests, seed] = [Number(values.requests), Number(values.seed)]

if (values.help || !Number.isInteger(requests) || !Number.isInteger(seed)) {
  process.stdout.write(help)
  process.exitCode = values.help ? 0 : 2
} else {
  say(`seed ${seed}`)
  const result = await runFuzz({ requests, seed, say })
  for (const finding of result.findings.slice(0, 50)) say(finding)
  process.stdout.write(table(result))
  const growth = result.rssAfterMb - result.rssBeforeMb
  say(`${result.findings.length} findings`)
  say(`${result.rssBeforeMb.toFixed(0)} MB before, ${result.rssAfterMb.toFixed(0)} MB after`)
  if (result.findings.length > 0 || growth > maxGrowthMb) process.exitCode = 1
}

function table({ answers }: FuzzResult): string {
  const statuses = [...new Set([...answers.values()].flatMap((counts) => [...counts.keys()]))]
  const columns = statuses.toSorted((a, b) => a - b)
  const head = ['about', ...columns.map(String)]
  const rows = [...answers]
    .toSorted(([a], [b]) => a.localeCompare(b))
    .map(([about, counts]) => [about, ...columns.map((status) => String(counts.get(status) ?? ''))])
  const width = Math.max(...rows.map(([about]) => about?.length ?? 0))
  return [head, ...rows]
    .map(([about = '', ...counts]) => {
      const cells = counts.map((count) => count.padStart(6)).join('')
      return `${about.padEnd(width)}${cells}\n`
    })
    .join('')
}

function say(line: string): void {
  process.stderr.write(`${line}\n`)
}
