import { spawnSync } from 'node:child_process'

/** Prometheus' own judge; tests that need it say that it is missing. Debian has it in `prometheus`. */
export const hasPromtool = spawnSync('promtool', ['--version']).status === 0

/** What `promtool` has to say, and whether all is well. */
export function promtool(args: readonly string[], input = ''): { isWell: boolean; said: string } {
  const { status, stdout, stderr } = spawnSync('promtool', args, { input, encoding: 'utf8' })
  return { isWell: status === 0, said: `${stdout}${stderr}` }
}
