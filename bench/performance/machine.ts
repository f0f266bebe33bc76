/** What the figures were measured on. */
import { execFileSync } from 'node:child_process'
import { availableParallelism, cpus, release, totalmem } from 'node:os'
import SQLite from 'better-sqlite3'
import { python } from './noop.ts'

export function machine(): string {
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`
  const parts = [
    `${availableParallelism()} cores (${cpus()[0]?.model.trim()}), ${memory}`,
    `Linux ${release().replace(/-.*/, '')}, data on ${fileSystem()}`,
    `Node ${process.versions.node}`,
    `SQLite ${new SQLite(':memory:').prepare('select sqlite_version()').pluck().get()}`,
    versionOf(python, ['--version']),
    `ffmpeg ${/version (\S+)/.exec(versionOf('ffmpeg', ['-version']))?.[1]}`,
  ]
  return `${parts.join('; ')}.`
}

/** The first line of what a program says of itself. */
export const versionOf = (program: string, args: readonly string[]): string =>
  execFileSync(program, args, { encoding: 'utf8' }).split('\n')[0]?.trim() ?? ''

/** Of the directory that the services of the benchmarks write to. */
function fileSystem(): string {
  const target = execFileSync('findmnt', ['-no', 'FSTYPE', '-T', process.env.TMPDIR ?? '/tmp'])
  return target.toString().trim()
}
