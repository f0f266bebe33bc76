/** `npm run chaos`: kills the real service, or parts of it, again and again, and tells what it cost. */
import { parseArgs } from 'node:util'
import build from './built.ts'
import { type ClusterRowName, clusterRowNames, hasVersions } from './chaos/cluster/cluster-rows.ts'
import { runClusterRow } from './chaos/cluster/run-cluster-row.ts'
import { columns } from './chaos/oracle.ts'
import { type RowName, rowNames } from './chaos/rows.ts'
import { clearAway, type RowResult, runRow } from './chaos/run-row.ts'
import { checkOut } from './earlier-version.ts'
import { canMount } from './small-disk.ts'

const help = `npm run chaos -- [options]

  --row NAME[,NAME]  only these rows (${rowNames.join(', ')})
  --kills N          how often each row kills (20)
  --jobs N           kill on until so many jobs have been accepted (0)
  --pause MS         leave everybody in peace for up to so long before each kill (0)
  --seconds N        stop killing after so long, shared by the rows (600); ending takes a while more
  --seed N           who is killed when, as far as timing allows (random)
  --gpus N           simulated GPUs (2)
  --cancels SHARE    share of the jobs that somebody tries to cancel (0.05)
  --postgres         store the jobs of every row in PostgreSQL
  --cluster          several nodes on PostgreSQL; rows: ${clusterRowNames.join(', ')}
  --nodes N          nodes of the cluster, at most 5 (3); --gpus are those of each node
  --at-once N        faults at different nodes at the same time (1)
  --from COMMIT      the other version of the rows upgrade and surroundings (HEAD)
  --keep             keep the data directories; chaos.log in them is the log of the service
  --markdown         print the table as Markdown
`

const { values } = parseArgs({
  options: {
    row: { type: 'string' },
    kills: { type: 'string', default: '20' },
    jobs: { type: 'string', default: '0' },
    pause: { type: 'string', default: '0' },
    seconds: { type: 'string', default: '600' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
    gpus: { type: 'string', default: '2' },
    cancels: { type: 'string', default: '0.05' },
    postgres: { type: 'boolean', default: false },
    cluster: { type: 'boolean', default: false },
    nodes: { type: 'string', default: '3' },
    'at-once': { type: 'string', default: '1' },
    from: { type: 'string', default: 'HEAD' },
    keep: { type: 'boolean', default: false },
    markdown: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

const names: readonly string[] = values.cluster ? clusterRowNames : rowNames
const chosen =
  values.row?.split(',') ?? names.filter((name) => canMount || name !== 'postgres-full')
const faults = [
  ...chosen.filter((name) => !names.includes(name)).map((name) => `there is no row ${name}`),
  ...(['kills', 'jobs', 'pause', 'seconds', 'seed', 'gpus', 'cancels', 'nodes', 'at-once'] as const)
    .filter((name) => !(Number(values[name]) >= 0))
    .map((name) => `--${name} must be a number`),
]

if (values.help) process.stdout.write(help)
else if (faults.length > 0) {
  say(`${faults.join('\n')}\n\n${help}`)
  process.exitCode = 2
} else await main()

async function main(): Promise<void> {
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => {
      clearAway()
      process.exit(130)
    })
  }
  build()
  const checkout = chosen.some(hasVersions) ? checkOut(values.from) : undefined
  try {
    await runRows(checkout?.build())
  } finally {
    checkout?.remove()
  }
}

/** `earlier`: program of another version. */
async function runRows(earlier: string | undefined): Promise<void> {
  const seed = Number(values.seed)
  say(`seed ${seed}`)

  const endsAt = Date.now() + Number(values.seconds) * 1000
  const results: RowResult[] = []
  for (const [index, row] of chosen.entries()) {
    const share = (endsAt - Date.now()) / (chosen.length - index)
    const options = {
      kills: Number(values.kills),
      jobs: Number(values.jobs),
      pauseMs: Number(values.pause),
      seed,
      gpus: Number(values.gpus),
      until: Date.now() + share,
      cancels: Number(values.cancels),
      onPostgres: values.postgres,
      keep: values.keep,
      say: (progress: string) => say(`${row}: ${progress}`),
    }
    const result = values.cluster
      ? await runClusterRow(row as ClusterRowName, {
          ...options,
          nodes: Number(values.nodes),
          atOnce: Number(values['at-once']),
          earlier,
        })
      : await runRow(row as RowName, options)
    results.push(result)
    report(result)
  }
  process.stdout.write(table(results))
  if (results.some(isBad)) process.exitCode = 1
}

/** Every finding in words, as far as anybody would read on. */
function report(result: RowResult): void {
  const { row, kills, jobs, seen, warm, seconds, killsPerSecond, findings, kept } = result
  const rate = killsPerSecond.toFixed(2)
  say(
    `${row}: ${kills} kills, ${jobs} jobs, ${seconds.toFixed(0)} s, ${rate} kills a second while killing; ${warm} of ${seen} generations seen were warm`,
  )
  for (const column of columns) {
    for (const finding of findings[column].slice(0, 20)) say(`${row}: ${column}: ${finding}`)
  }
  if (kept) say(`${row}: kept ${kept}`)
}

function table(results: readonly RowResult[]): string {
  const figures = Object.keys(results[0]?.figures ?? {})
  const head = ['row', 'kills', 'jobs', ...columns, ...figures]
  const body = results.map((result) => [
    result.row,
    String(result.kills),
    String(result.jobs),
    ...columns.map((column) => String(result.findings[column].length)),
    ...figures.map((figure) => result.figures?.[figure] ?? ''),
  ])
  const widths = head.map((title, index) =>
    Math.max(title.length, ...body.map((cells) => cells[index]?.length ?? 0)),
  )
  const line = (cells: readonly string[]) => {
    const padded = cells.map((cell, index) =>
      index === 0 ? cell.padEnd(widths[index] ?? 0) : cell.padStart(widths[index] ?? 0),
    )
    return values.markdown ? `| ${padded.join(' | ')} |\n` : `${padded.join('  ')}\n`
  }
  const rule = widths.map((width, index) =>
    index === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}${values.markdown ? ':' : '-'}`,
  )
  return [head, rule, ...body].map(line).join('')
}

function isBad({ findings }: RowResult): boolean {
  return columns.some((column) => findings[column].length > 0)
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}
