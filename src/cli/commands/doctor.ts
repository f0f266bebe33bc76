import { diagnose } from '../../infra/installation/diagnosis.ts'
import type { Finding } from '../../infra/installation/finding.ts'
import { exitCodes } from '../terminal/failure.ts'
import { type OutputOptions, show } from '../terminal/output.ts'
import { colored, plain } from '../terminal/text.ts'

const marks = {
  ok: ['green', 'ok'],
  warning: ['yellow', 'warning'],
  fault: ['red', 'FAULT'],
  skipped: ['dim', 'skipped'],
} as const

/** Whether this machine can run the service, as its environment has it, and what to do if not. */
export async function doctor(options: OutputOptions): Promise<void> {
  const checks = await diagnose(process.env)
  const ok = checks.every(({ verdict }) => verdict !== 'fault')
  show({ ok, checks }, options, () => [...checks.map(lineOf), summaryOf(checks)].join('\n'))
  if (!ok) process.exitCode = exitCodes.failed
}

const maxMarkLength = Math.max(...Object.values(marks).map(([, word]) => word.length))

function lineOf({ name, verdict, detail }: Finding): string {
  const [color, word] = marks[verdict]
  return `${colored(color, word.padEnd(maxMarkLength))}  ${name}: ${plain(detail)}`
}

function summaryOf(checks: readonly Finding[]): string {
  const faults = checks.filter(({ verdict }) => verdict === 'fault').length
  if (faults === 0) return 'Jobs can be run here.'
  return faults === 1
    ? 'One fault keeps jobs from running.'
    : `${faults} faults keep jobs from running.`
}
