/** What each queue has to do for one job: the service's own runner and converter, without the service. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { GenerationResult, GenerationRunner } from '../../../src/actors/gpu/gpu-ports.ts'
import { readConfig } from '../../../src/config/config.ts'
import type { GpuId, JobId } from '../../../src/domain/job.ts'
import { createDirectories, createWorkFiles } from '../../../src/infra/disk/data-directory.ts'
import { resultsDirectory } from '../../../src/infra/disk/results-directory.ts'
import { createGenerationRunner } from '../../../src/infra/generation/runner.ts'
import { createVideoTools } from '../../../src/infra/media/video-tools.ts'
import type { ShimEnd } from '../../../src/infra/processes/fork-server.ts'
import { startChild } from '../../../src/infra/processes/tool.ts'
import { noopDir, noopEnvironment, noopRequest, python } from '../noop.ts'
import { gpus } from './contender.ts'

export const shim = join(import.meta.dirname, '../../../src/infra/processes/shim.py')

/** The conversion copies. */
const size = '1280x704'

export const requestOf = (n: number) => noopRequest(size, n)

/** For the service, and for whoever else runs the same generations. */
export const environmentOf = (directory: string) => ({
  DATA_DIR: directory,
  GPU_IDS: gpus.join(','),
  MAX_CONVERSIONS: String(gpus.length),
  WAN_DIR: noopDir,
  WAN_PYTHON: python,
  ...noopEnvironment(directory),
})

export const configOf = (directory: string) => readConfig(environmentOf(directory))

/** Runs a job on a GPU that is free: at most as many at a time as there are GPUs. */
export function createWork(directory: string): (n: number) => Promise<void> {
  const { data, wan, fit720: fit } = configOf(directory)
  createDirectories(data)
  const env = { ...process.env, ...environmentOf(directory) }
  const starter = {
    occupy() {},
    vacate() {},
    completed() {},
    failed() {},
    forkFailed() {},
    startShim: (dir: string, env: NodeJS.ProcessEnv) => startShim(wan.python, dir, env),
  }
  const free = gpus.map((id) => {
    const [gpu, device] = [id as GpuId, `${id}`]
    const observe = () => {}
    return createGenerationRunner({
      ...{ data, wan, gpu, device, env, starter, observe, log: silent },
    })
  })
  const tools = createVideoTools({
    ...{ data, fit, start: startChild },
    results: resultsDirectory(data.resultsDir),
  })
  const workFiles = createWorkFiles(data)

  return async (n) => {
    const jobId = crypto.randomUUID() as JobId
    const order = { jobId, epoch: 1, request: { ...requestOf(n), seed: n } }
    const runner = free.pop()
    if (!runner) throw new Error(`job ${n} was begun while all GPUs were busy`)
    const result = await generation(runner, order)
    if (result.how !== 'completed') throw new Error(`job ${n}: ${JSON.stringify(result)}`)
    const conversion = { ...order, filename: `${jobId}.mp4` }
    const source = await tools.inspect(conversion)
    if (source.how !== 'readable') throw new Error(`job ${n} left no video`)
    const { signal } = new AbortController()
    await tools.encode(conversion, source.facts, signal)
    await tools.publish(conversion, signal)
    await workFiles.discard(jobId)
    free.push(runner)
  }
}

/** As Node starts a process. The service's fork server is a part of the service. */
async function startShim(python: string, dir: string, env: NodeJS.ProcessEnv): Promise<ShimEnd> {
  const args = ['-I', '-S', shim, dir]
  const child = spawn(python, args, { env, detached: true, stdio: 'ignore' })
  const [, signal] = await once(child, 'exit')
  return { how: 'ended', unreaped: 0, signal }
}

const generation = (
  runner: GenerationRunner,
  order: Parameters<GenerationRunner['start']>[0],
): Promise<GenerationResult> =>
  new Promise((ended) => runner.start(order, { started() {}, reported() {}, ended }))

const nothing = () => {}
const silent = { debug: nothing, info: nothing, warn: nothing, error: nothing }
