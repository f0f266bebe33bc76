/** `scripts/gpu-check`: warm starts on a real GPU, checked from the driver up to the service. */
import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { version } from '../../src/config/version.ts'
import { cancelInEachStage, cancelNames } from './cancels.ts'
import { type Checks, createChecks, type Row, tableOf } from './checks.ts'
import { describeMachine, type Machine, readMachine, size } from './machine.ts'
import { makeMany, manyName } from './many.ts'
import { help, type Options, readOptions, UnfitError } from './options.ts'
import { runProbe } from './probe.ts'
import { coldNames, makeCold, makeWarm, warmNames } from './videos.ts'
import { startWan, type WanSetup } from './wan-service.ts'
import { ensureWeights } from './weights.ts'

/** Cards with less get the model in half precision, as docs/getting-started.md has it for 24 GB. */
const minMiBForFloat32 = 70_000

const templateName = 'warm: the template'

const say = (line: string): void => void process.stderr.write(`${line}\n`)

const endings: (() => void)[] = []
const clearAway = (): void => {
  for (const end of endings.splice(0).toReversed()) end()
}

try {
  const options = readOptions(process.argv.slice(2), process.env)
  if (options) process.exitCode = await main(options)
  else process.stdout.write(help)
} catch (error) {
  if (!(error instanceof UnfitError)) throw error
  say(`gpu-check: ${error.message}`)
  process.exitCode = 2
} finally {
  clearAway()
}

/** Gives the exit status. */
async function main(options: Options): Promise<number> {
  const stopped = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => {
      stopped.abort()
      clearAway()
      process.exit(130)
    })
  }
  const endsAt = Date.now() + options.minutes * 60_000
  const clock = { leftMs: () => endsAt - Date.now(), signal: stopped.signal }
  const checks = createChecks(clock, say)
  const machine = await readMachine(options, clock.signal)
  const described = describeMachine(machine)
  say(`${described}\n`)

  if (options.only.includes('probe')) {
    await runProbe(checks, { python: options.python, gpu: machine.gpu })
  }
  if (options.only.includes('service')) await checkService(checks, options, machine)

  const minutes = (performance.now() / 60_000).toFixed(1)
  const head = `wan-supervisor ${version}, ${new Date().toISOString()}, ${minutes} minutes`
  process.stdout.write(`${head}\n\n${described}\n\n${tableOf(checks.rows)}\n`)
  process.stdout.write(`${summaryOf(checks.rows)}\n`)
  if (options.json !== undefined) {
    const content = { version, at: new Date().toISOString(), machine, checks: checks.rows }
    writeFileSync(options.json, `${JSON.stringify(content, null, 2)}\n`)
  }
  return checks.areAllOk() ? 0 : 1
}

async function checkService(checks: Checks, options: Options, machine: Machine): Promise<void> {
  const { clock } = checks
  const atEnd = (end: () => void) => void endings.push(end)
  const { gpu } = machine
  const weights = await checks.check('weights', () => ensureWeights(options, clock, atEnd))
  const warmRest = [...Object.values(warmNames), ...cancelNames, manyName(options.jobs)]
  if (!weights) {
    const names = [...Object.values(coldNames), templateName, ...warmRest]
    return checks.leaveOut(names, 'there are no weights')
  }
  const setup: WanSetup = {
    gpu,
    python: options.python,
    wanDir: resolve(options.wanDir),
    ckptDir: weights.ckptDir,
    env: settingsFor(machine),
    build: options.build,
    clock,
    atEnd,
  }

  const coldService = await checks.check('cold: the service', () => startedWan(setup, 'off'))
  const cold = coldService && (await makeCold(checks, coldService, gpu))
  if (!coldService) checks.leaveOut(Object.values(coldNames), 'the service did not start')
  await coldService?.stop()
  if (!cold) return checks.leaveOut([templateName, ...warmRest], 'no cold job has succeeded')

  const warm = await checks.check(templateName, async () => {
    const { value } = await startedWan(setup, options.warmStart)
    const { tookMs, privateBytes, sharedBytes } = await value.hasTemplate()
    const probed = options.warmStart === 'auto' ? '; its probe has succeeded' : ''
    return {
      detail: `loaded in ${(tookMs / 1000).toFixed(1)} s, ${size(privateBytes)} private, ${size(sharedBytes)} shared${probed}`,
      figures: { tookMs, privateBytes, sharedBytes },
      value,
    }
  })
  if (!warm) return checks.leaveOut(warmRest, 'there is no template')
  await makeWarm(checks, warm, gpu, cold)
  await cancelInEachStage(checks, warm, gpu)
  await makeMany(checks, warm, gpu, { jobs: options.jobs, cold: cold.video })
  await warm.stop()
}

async function startedWan(setup: WanSetup, warmStart: 'off' | 'auto' | 'on') {
  const value = await startWan(setup, warmStart)
  return { detail: `started with ${JSON.stringify(setup.env)}`, figures: setup.env, value }
}

/** Those of the user, else what such a machine needs. */
function settingsFor({ gpuMiB, flashAttention }: Machine): NodeJS.ProcessEnv {
  const halved = gpuMiB < minMiBForFloat32 ? '["--convert_model_dtype"]' : '[]'
  const { WAN_EXTRA_ARGS, WAN_SDPA, FAST_LOAD, WAN_LAUNCHER } = process.env
  return {
    WAN_EXTRA_ARGS: WAN_EXTRA_ARGS || halved,
    WAN_SDPA: WAN_SDPA || (flashAttention ? '0' : '1'),
    ...(FAST_LOAD && { FAST_LOAD }),
    ...(WAN_LAUNCHER && { WAN_LAUNCHER }),
  }
}

function summaryOf(rows: readonly Row[]): string {
  const number = (verdict: Row['verdict']) => rows.filter((row) => row.verdict === verdict).length
  const [failed, left] = [number('failed'), number('not done')]
  if (failed + left === 0) return `All ${rows.length} checks passed.`
  return `Of ${rows.length} checks, ${failed} failed and ${left} were not done.`
}
