/**
 * `make conformance`: the real code of Wan2.2 on a CPU, driven through the service. README.md says what it shows.
 * It skips what it cannot prepare without a network; with `CONFORMANCE_REQUIRED=1` that is a failure.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { wanTaskNames } from '../../src/domain/wan-tasks.ts'
import { ensureCheckpoint } from './checkpoint.ts'
import { UnavailableError } from './pip.ts'
import { ensurePython } from './python-environment.ts'
import { here, type Prepared, toEnvironment } from './settings.ts'
import { describeChanges, findWanCode } from './wan-code.ts'

try {
  process.exitCode = await runTests(await prepare())
} catch (error) {
  if (!(error instanceof UnavailableError)) throw error
  console.error(`\nconformance: skipped: ${error.message}`)
  if (process.env.CONFORMANCE_REQUIRED === '1') {
    console.error('CONFORMANCE_REQUIRED=1 forbids that.')
    process.exitCode = 1
  }
}

async function prepare(): Promise<Prepared> {
  step('Python with PyTorch for a CPU')
  const python = await ensurePython()
  step('the code of Wan2.2')
  const code = await findWanCode(python)
  const { WAN_DIR } = process.env
  if (WAN_DIR && !code.isCheckout) console.log(`WAN_DIR is not used: ${WAN_DIR} is no checkout`)
  console.log(`${code.isCheckout ? 'checkout' : 'package'}: ${code.codeDir}`)
  console.log(await describeChanges(code))
  step('checkpoints with random weights')
  // The package's code for the other tasks is not the original's.
  const tasks = wanTaskNames.filter((task) => code.isCheckout || task === 'ti2v-5B')
  const checkpoints: Record<string, string> = {}
  for (const task of tasks) checkpoints[task] = await ensureCheckpoint(python, code, task)
  return { python, ...code, checkpoints }
}

async function runTests(prepared: Prepared): Promise<number> {
  step('tests')
  const config = ['--config', join(here, 'vitest.config.ts')]
  const tests = spawn('vitest', ['run', ...config, ...process.argv.slice(2)], {
    stdio: 'inherit',
    env: { ...process.env, ...toEnvironment(prepared) },
  })
  const [code] = (await once(tests, 'exit')) as [number | null]
  return code ?? 1
}

function step(name: string): void {
  const seconds = Math.round(performance.now() / 1000)
  console.log(`--- conformance: ${name} (${seconds} s)`)
}
