/** `npm run bench:eta`: how true estimates are, in simulated time, beside what others tell. */
import { parseArgs } from 'node:util'
import { checkpoints } from '../src/domain/estimate.ts'
import { costOf } from './eta/cost.ts'
import { workloads } from './eta/workloads.ts'
import { type Answer, type Played, play } from './eta/world.ts'

const help = `npm run bench:eta -- [options]

  --workload TEXT  only workloads whose name contains it
  --seed N         what is random is the same for the same seed (1)
  --runs N         how often each workload is played, with seeds N, N+1, … (3)
  --markdown       print the tables as Markdown
`

const { values } = parseArgs({
  options: {
    workload: { type: 'string', default: '' },
    seed: { type: 'string', default: '1' },
    runs: { type: 'string', default: '3' },
    markdown: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

if (values.help) process.stdout.write(help)
else main()

function main(): void {
  const chosen = workloads.filter(({ name }) => name.includes(values.workload))
  const seeds = Array.from({ length: Number(values.runs) }, (_, run) => Number(values.seed) + run)
  const all: Answer[] = []
  const rows = chosen.map((workload) => {
    const runs = seeds.map((seed) => play(workload, seed))
    const answers = runs.flatMap((run) => run.answers).filter(({ isExperienced }) => isExperienced)
    all.push(...answers)
    return rowOf(workload.name, answers, runs)
  })
  const head = [
    'workload',
    ...checkpoints.map((at) => `${at === 'submit' ? at : `${at} %`} ours / plain / tqdm`),
    'in the 80 % interval at submit / 25 / 50 / 75 %',
    'largest jump',
    'longest at ≤ 1 s',
  ]
  print([head, ...rows, rowOf('**all**', all, [])])
  if (values.workload) return
  // Once for nothing: what is compiled meanwhile is not to be counted.
  costOf(1_000)
  const costs = [10, 10_000, 100_000]
    .map(costOf)
    .map(({ waiting, pollMicros, slowTurnMs }) => [
      ...[String(waiting), `${pollMicros.toFixed(1)} µs`, `${slowTurnMs.toFixed(2)} ms`],
    ])
  process.stdout.write('\n')
  print([['jobs waiting', 'a poll costs', 'turns, 99.9 %'], ...costs])
}

function rowOf(name: string, answers: readonly Answer[], runs: readonly Played[]): string[] {
  const ours = answers.filter(({ who }) => who === 'ours')
  const held = checkpoints.map((checkpoint) => {
    const those = ours.filter((one) => one.checkpoint === checkpoint)
    const within = those.filter(({ p10 = 0, p90 = 0, actual }) => actual >= p10 && actual <= p90)
    return ((within.length / those.length) * 100).toFixed(0)
  })
  const jumps = runs.flatMap((run) => run.jumps)
  return [
    name,
    ...checkpoints.map((checkpoint) => {
      const error = (who: Answer['who']) =>
        meanError(answers.filter((one) => one.who === who && one.checkpoint === checkpoint))
      return `${error('ours')} / ${error('plain')} / ${error('tqdm')}`
    }),
    `${held.join(' / ')} %`,
    percent(median(jumps)),
    `${Math.max(0, ...runs.flatMap((run) => run.overdue)).toFixed(0)} s`,
  ]
}

/** Mean of |told − actual| ÷ actual. */
function meanError(answers: readonly Answer[]): string {
  if (answers.length === 0) return '–'
  const errors = answers.map(({ told, actual }) => Math.abs(told - actual) / actual)
  return percent(errors.reduce((sum, error) => sum + error, 0) / errors.length)
}

function percent(share: number): string {
  return Number.isFinite(share) ? `${(share * 100).toFixed(1)} %` : '–'
}

function median(sortable: readonly number[]): number {
  const sorted = sortable.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

function print(rows: readonly (readonly string[])[]): void {
  const widths =
    rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? []
  const line = (cells: readonly string[]) =>
    values.markdown
      ? `| ${cells.join(' | ')} |\n`
      : `${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}\n`
  const [head = [], ...body] = rows
  const rule = head.map((_, column) => (column === 0 ? '---' : '---:'))
  process.stdout.write([head, ...(values.markdown ? [rule] : []), ...body].map(line).join(''))
}
