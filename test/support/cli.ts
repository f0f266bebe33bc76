/** `wanctl` as people run it: a process of its own, in a pipe or in a terminal. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { onTestFinished, vi } from 'vitest'
import { compiled } from '../../bench/built.ts'
import { root } from '../../src/config/root.ts'
import type { AtEnd } from './service.ts'

export const wanctlPath = join(root, 'bin', 'wanctl.js')
const terminal = join(import.meta.dirname, 'terminal.py')

export type WanctlOptions = Readonly<{
  url?: string
  env?: NodeJS.ProcessEnv
  cwd?: string
  /** In a terminal, whose screen is stdout. */
  inTerminal?: boolean
  /** What is run instead: a shell, say. */
  command?: readonly string[]
  atEnd?: AtEnd
}>

/** Begins and lets the test go on while it runs. */
export function beginWanctl(
  args: readonly string[],
  { url, env = {}, cwd, inTerminal = false, command, atEnd = onTestFinished }: WanctlOptions = {},
) {
  const real = command ?? [process.execPath, wanctlPath, ...args]
  const [program = '', ...rest] = inTerminal ? ['python3', terminal, ...real] : real
  const child = spawn(program, rest, {
    ...(cwd && { cwd }),
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      TERM: 'xterm',
      ...compiled,
      ...(url && { WAN_URL: url }),
      ...env,
    },
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const closed = once(child, 'close')
  atEnd(async () => {
    child.kill('SIGKILL')
    await closed
  })
  return {
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    /** Waits until it has written this, wherever to. */
    async says(text: string | RegExp): Promise<void> {
      const isSaid = () => {
        const all = stdout + stderr
        return typeof text === 'string' ? all.includes(text) : text.test(all)
      }
      await vi.waitUntil(isSaid, { timeout: 30_000 }).catch(() => {
        throw new Error(`wanctl has not said ${text}: ${stdout}${stderr}`)
      })
    },
    async end(): Promise<{ code: number | null; stdout: string; stderr: string }> {
      const [code] = (await closed) as [number | null]
      return { code, stdout, stderr }
    },
  }
}

export const wanctl = (args: readonly string[], options?: WanctlOptions) =>
  beginWanctl(args, options).end()

/** Whatever a terminal obeys, save the end of a line. */
export const controlCodes = /(?!\n)[\p{Cc}\u202a-\u202e\u2066-\u2069]/u
