/** A GPU of the service without the service: the simulator, run as the real script would be. */
import { randomUUID } from 'node:crypto'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as v from 'valibot'
import { expect, onTestFinished } from 'vitest'
import type { GenerationHandle, GenerationResult } from '../../src/actors/gpu/gpu-ports.ts'
import { root } from '../../src/config/root.ts'
import { JobId, type Reading, type Timestamp } from '../../src/domain/job.ts'
import type { Logger } from '../../src/domain/log.ts'
import type { Observation } from '../../src/domain/observation.ts'
import { createGenerationRunner } from '../../src/infra/generation/runner.ts'
import type { GenerationStarter } from '../../src/infra/generation/warm-starts.ts'
import { createForkServer, type ForkServer } from '../../src/infra/processes/fork-server.ts'
import { gpu0 } from './jobs.ts'
import { aDataDirectory, killLeftovers, quick } from './service.ts'

const sim = join(root, 'sim')
const patience = { timeout: 30_000, interval: 20 }

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} }

/** `atEnd` is called in the moment in which the end is reported. */
export function aGpu({
  launcher = true,
  wanDir = sim,
  atEnd = () => {},
  observe = (_: Observation) => {},
  log = silent,
} = {}) {
  const dir = aDataDirectory()
  onTestFinished(() => killLeftovers(dir))
  const data = {
    workDir: join(dir, 'work'),
    resultsDir: join(dir, 'results'),
    logsDir: join(dir, 'logs'),
    previewsDir: join(dir, 'previews'),
    stateDb: join(dir, 'state.db'),
  }
  mkdirSync(data.logsDir, { recursive: true })
  const env = { PATH: process.env.PATH, SIM_SPEED: '1000', SIM_DIRECTIVES: '1' }
  const wan = {
    ...{ python: 'python3', wanDir, ckptDir: '/ckpt', extraArgs: [] },
    ...{ task: 'ti2v-5B' as const, launcher, sdpa: false, fastLoad: true },
  }
  const forkServer = createForkServer(wan.python)
  onTestFinished(forkServer.close)
  const runner = createGenerationRunner({
    ...{ data, wan, gpu: gpu0, device: '0', env, observe, log },
    starter: coldStarter(forkServer),
  })
  const orderFor = (prompt: string) => ({
    jobId: v.parse(JobId, randomUUID()),
    epoch: 1,
    request: { ...quick, prompt, seed: 1, steps: 6 },
  })

  const results: GenerationResult[] = []
  const hearEnd = (result: GenerationResult) => {
    atEnd()
    results.push(result)
  }

  return {
    /** Of all generations, in the order in which they ended. */
    results,
    orderFor,
    start: (order: ReturnType<typeof orderFor>) =>
      observed((observer) => runner.start(order, observer), hearEnd),
    adopt: (order: ReturnType<typeof orderFor>) =>
      observed((observer) => runner.adopt(order, observer), hearEnd),
    directoryOf: (order: ReturnType<typeof orderFor>) => join(data.workDir, order.jobId, '1'),
    eventsOf: (order: ReturnType<typeof orderFor>) =>
      readFileSync(join(data.workDir, order.jobId, '1', 'events.jsonl'), 'utf8'),
  }
}

type Observer = Parameters<ReturnType<typeof createGenerationRunner>['start']>[1]

/** Starts every generation by itself. */
export const coldStarter = ({ startShim }: Pick<ForkServer, 'startShim'>): GenerationStarter => ({
  startShim,
  occupy() {},
  vacate() {},
  completed() {},
  failed() {},
  forkFailed() {},
})

function observed(
  begin: (observer: Observer) => GenerationHandle,
  hearEnd: (result: GenerationResult) => void,
) {
  const readings: Reading[] = []
  let startedAt: Timestamp | undefined
  let result: GenerationResult | undefined
  const handle = begin({
    started: (at) => (startedAt = at),
    reported: (reading) => readings.push(reading),
    ended(how) {
      hearEnd(how)
      result = how
    },
  })
  onTestFinished(() => handle.detach())
  return {
    handle,
    readings,
    startedAt: () => startedAt as Timestamp,
    result: () => result,
    latest: () => readings.at(-1),
    until: (isSo: (reading: Reading) => boolean) =>
      expect.poll(() => readings.some(isSo), patience).toBe(true),
    end: () => expect.poll(() => result, patience).toBeDefined(),
  }
}
