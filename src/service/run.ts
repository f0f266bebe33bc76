/** The service as a process: environment, log, signals, exit codes. */
import { setTimeout as delay } from 'node:timers/promises'
import { readConfig } from '../config/config.ts'
import { settleRuntime } from '../infra/fast/runtime.ts'
import { createStdoutLog } from '../infra/logging/stdout-log.ts'
import { createService } from './service.ts'

/** A start takes longer only while it waits for a database or for the name of its node: nothing of it runs yet. */
const maxStartMs = 2_000

/** Starts the service of this process. The process ends with it: on a signal, or with code 1. */
export async function runService(): Promise<void> {
  try {
    await run()
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    process.stderr.write(`wan-supervisor cannot start. ${why}\n`)
    process.exit(1)
  }
}

async function run(): Promise<void> {
  const config = readConfig(process.env)
  // Generations and tools inherit the environment and must not see tokens and passwords.
  delete process.env.API_TOKENS
  delete process.env.DATABASE_URL
  const log = await createStdoutLog(config.logLevel)
  const service = createService(config, {
    log,
    env: process.env,
    onGivenUp(actor) {
      log.error({ child: actor }, 'the service cannot go on without this part and ends')
      process.exit(1)
    },
  })
  process.once('SIGTERM', stop)
  process.once('SIGINT', stop)
  const started = service.start()
  await started
  setImmediate(settleRuntime)

  async function stop(signal: NodeJS.Signals): Promise<void> {
    log.info({ signal, shutdown: config.shutdown }, 'stopping')
    for (const again of ['SIGTERM', 'SIGINT'] as const) process.once(again, () => process.exit(1))
    const hasStarted = started.then(() => true)
    if (await Promise.race([hasStarted, delay(maxStartMs, false)])) await service.stop()
    process.exit(0)
  }
}
