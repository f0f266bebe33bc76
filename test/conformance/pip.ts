/** Runs pip in a virtual environment. */
import { writeFileSync } from 'node:fs'
import { $ } from 'zx'

/** What the tests need is not here, and cannot be brought here. */
export class UnavailableError extends Error {
  override readonly name = 'UnavailableError'
}

export type PipOptions = Readonly<{ python: string; log: string }>

/** Modules are compiled when they are imported: most of PyTorch's never are. */
const always = ['--no-compile', '--no-input', '--progress-bar', 'off', '--retries', '2']

export async function pipInstall(
  { python, log }: PipOptions,
  args: readonly string[],
): Promise<void> {
  const command = ['-m', 'pip', 'install', ...always, ...args]
  const { exitCode, stdall: output } = await $({ nothrow: true, quiet: true })`${python} ${command}`
  if (exitCode === 0) return
  writeFileSync(log, output)
  if (hasNoNetwork(output)) {
    throw new UnavailableError(
      `pip reaches no index of packages. Try again with a network, or tell pip by its own settings where it finds them. Its output is in ${log}.`,
    )
  }
  const end = output.trimEnd().split('\n').slice(-20).join('\n')
  throw new Error(`pip install ${args.join(' ')} failed. Its output is in ${log} and ends:\n${end}`)
}

/**
 * The error alone does not tell: pip finds no version either way. Before it, pip warns of each connection that fails.
 */
export const hasNoNetwork = (output: string): boolean =>
  /No matching distribution found|Max retries exceeded|Connection (?:aborted|refused)/.test(
    output,
  ) && /connection broken by|Failed to establish a new connection|Max retries exceeded/.test(output)
