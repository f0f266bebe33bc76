/** The machine that the service runs on: its GPUs, tools and files, whoever leads. */

import type { Config } from '../config/config.ts'
import { version } from '../config/version.ts'
import type { Check } from '../domain/check.ts'
import { messageOf } from '../domain/errors.ts'
import type { GpuId, Job } from '../domain/job.ts'
import type { Logger } from '../domain/log.ts'
import { soleNode } from '../domain/node.ts'
import { createWorkFiles } from '../infra/disk/data-directory.ts'
import type { ResultsDirectory } from '../infra/disk/results-directory.ts'
import { installationLooks } from '../infra/installation/installation.ts'
import { keepChecking, type StandingChecks } from '../infra/installation/standing-checks.ts'
import { createGpuMeter } from '../infra/machine/gpu-meter.ts'
import type { Gpu } from '../infra/machine/gpus.ts'
import { createDownloads } from '../infra/media/downloads.ts'
import { createPreviews } from '../infra/media/previews.ts'
import { createUploads } from '../infra/media/uploads.ts'
import { createVideoFiles } from '../infra/media/video-files.ts'
import { createMetrics } from '../infra/metrics/metrics.ts'
import { createForkServer } from '../infra/processes/fork-server.ts'
import { createClockCheck } from './clock-check.ts'
import { nameOf } from './cluster/own-node.ts'

export type MachineOptions = Readonly<{
  config: Config
  /** GPUs that get jobs. */
  gpus: readonly Gpu[]
  /** Those, and former ones that still have a generation to watch. */
  owned: readonly Gpu[]
  results: ResultsDirectory
  /** Whether the database can be used. */
  checkDatabase(): Promise<Check>
  log: Logger
}>

export type Machine = ReturnType<typeof createMachine>

/** Name of a GPU's actor at the supervisor. */
export const childOf = (gpu: GpuId): string => `gpu-${gpu}`

type FormerGpuOptions = Readonly<{ lost?: readonly GpuId[]; deviceOf?: (gpu: GpuId) => string }>

/**
 * GPUs that are no longer configured but still have a generation to watch. They get no new job. `lost`: those on which
 * attempts were lost with their node; their actors announce that no process of these is left.
 */
export function formerGpus(
  gpus: readonly Gpu[],
  running: readonly Job[],
  { lost = [], deviceOf = String }: FormerGpuOptions = {},
): Gpu[] {
  const busy = running.flatMap(({ state }) =>
    state.status === 'running' && state.phase === 'generating' ? [state.gpu] : [],
  )
  return [...new Set([...busy, ...lost])]
    .filter((id) => !gpus.some((gpu) => gpu.id === id))
    .map((id) => ({ id, device: deviceOf(id) }))
}

export function createMachine(
  { config, gpus, owned, results, checkDatabase, log }: MachineOptions,
  resources: AsyncDisposableStack,
) {
  const { data, wan } = config
  const metrics = createMetrics({
    node: config.databaseUrl === undefined ? soleNode : nameOf(config),
    gpus: owned,
    version,
    task: wan.task,
    maxQueue: config.maxQueue,
    minFreeBytes: config.minFreeBytes,
    log,
  })
  const clock = createClockCheck(metrics.observe)
  const { 'generate.py': script, checkpoint, ...tools } = installationLooks(wan)
  const looks = {
    // A node without GPUs generates nothing.
    ...(owned.length > 0 && { 'generate.py': script, checkpoint }),
    ...tools,
    ...(config.resultsShared && { results: () => lookAtResults(results) }),
  }
  const checks: StandingChecks = resources.use(keepChecking({ database: checkDatabase, ...looks }))
  const names = new Set(Object.keys(looks))
  const forkServer = createForkServer(wan.python)
  resources.defer(forkServer.close)
  const downloads = createDownloads()
  return {
    gpus,
    owned,
    metrics,
    observe: clock.observe,
    checks,
    standing: () => [...checks.standing(), ...clock.standing()],
    /** Calls back with the checks without which no generation or conversion works. */
    listen: (heard: (checks: readonly Check[]) => void) =>
      checks.listen((found) => heard(found.filter(({ name }) => names.has(name)))),
    measured: createGpuMeter(owned),
    forkServer,
    downloads,
    results,
    videoFiles: createVideoFiles(results, data, downloads),
    workFiles: createWorkFiles(data),
    previews: createPreviews(data, forkServer.startTool),
    uploads: createUploads(data, forkServer.startTool),
  }
}

/** Where it is another file system, it may be away. */
const lookAtResults = ({ path, check }: ResultsDirectory): Promise<Check> =>
  check().then(
    () => ({ name: 'results', ok: true, detail: path }),
    (error: unknown) => ({ name: 'results', ok: false, detail: messageOf(error) }),
  )
