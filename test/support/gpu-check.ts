/** `scripts/gpu-check` as people run it, on a machine with one GPU that is not there. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { onTestFinished } from 'vitest'
import { root } from '../../src/config/root.ts'
import { aDataDirectory } from './service.ts'

export const gpuCheckPath = join(root, 'scripts', 'gpu-check')

/** Its `nvidia-smi`, and a `torch` of which it knows what it uses. */
const probed = join(import.meta.dirname, 'gpu-probe')

/** `temporary` holds all that is written. */
export function aMachine() {
  const directory = aDataDirectory()
  const [temporary, gpu] = [join(directory, 'tmp'), join(directory, 'gpu')]
  for (const path of [temporary, gpu]) mkdirSync(path)
  return {
    directory,
    temporary,
    env: {
      HOME: process.env.HOME,
      PATH: `${probed}${delimiter}${process.env.PATH}`,
      PROBE_GPU: gpu,
      TMPDIR: temporary,
      WAN_DIR: join(root, 'sim'),
    },
  }
}

export const torchOfProbe = { PYTHONPATH: probed } as const

export function beginGpuCheck(args: readonly string[], env: NodeJS.ProcessEnv) {
  const child: ChildProcess = spawn(gpuCheckPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void child.kill('SIGTERM'))
  let [stdout, stderr] = ['', '']
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const ended = once(child, 'close').then(([code]) => ({
    code: code as number | null,
    stdout,
    stderr,
  }))
  return { child, ended }
}

export const gpuCheck = (args: readonly string[], env: NodeJS.ProcessEnv) =>
  beginGpuCheck(args, env).ended

/** Verdicts by the names of the checks, in order. */
export const verdictsIn = (table: string): [string, string][] =>
  [...table.matchAll(/^\| (.+?) \| (?:\*\*)?(ok|failed|not done)(?:\*\*)? \| /gm)].map(
    ([, check = '', verdict = '']) => [check, verdict],
  )

export const failedIn = (table: string): string[] =>
  verdictsIn(table).flatMap(([check, verdict]) => (verdict === 'failed' ? [check] : []))
