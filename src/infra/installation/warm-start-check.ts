/** Checks of `wanctl doctor` for warm starts: the templates of a running service, and whether forks can use a GPU. */
import { dirname, join } from 'node:path'
import * as v from 'valibot'
import type { Config } from '../../config/config.ts'
import { messageOf } from '../../domain/errors.ts'
import { environmentFor, launcherPath } from '../generation/command.ts'
import { isReadingOf } from '../machine/gpu-meter.ts'
import { detectGpus, type Gpu } from '../machine/gpus.ts'
import { measureGpus, readDriver } from '../machine/nvidia-smi.ts'
import { runTool } from '../processes/tool.ts'
import { type Finding, finding } from './finding.ts'
import { askService, isForbidden, isOurs, needsToken } from './own-service.ts'

export type WarmStartCheckOptions = Readonly<{
  config: Config
  env: NodeJS.ProcessEnv
  /** No GPU is used. */
  simulated: boolean
}>

export async function checkWarmStart(options: WarmStartCheckOptions): Promise<Finding[]> {
  const { config, env } = options
  const token = env.WAN_TOKEN || undefined
  const service = (await isOurs(config))
    ? { ask: (path: string) => askService(config, path, token) }
    : undefined
  return Promise.all([checkTemplates(config, service), checkForks(options, service)])
}

type RunningService = Readonly<{ ask(path: string): ReturnType<typeof askService> }>

const Template = v.object({
  state: v.string(),
  reason: v.nullable(v.string()),
  jobs_started: v.number(),
})
type Template = v.InferOutput<typeof Template>

const Tasks = v.object({
  tasks: v.array(
    v.object({
      task: v.string(),
      nodes: v.array(v.object({ node: v.string(), template: v.nullable(Template) })),
    }),
  ),
})

async function checkTemplates(
  { warmStart, host, port }: Config,
  service: RunningService | undefined,
): Promise<Finding> {
  const off = 'WARM_START is off: jobs start cold'
  if (!service) {
    const detail = `no service runs at ${host}:${port} that could say how its templates are`
    return finding('template', 'skipped', warmStart === 'off' ? off : detail)
  }
  try {
    const { status, body } = await service.ask('/tasks')
    if (isForbidden(status)) return finding('template', 'skipped', needsToken)
    if (status === 404) {
      return finding('template', 'skipped', 'the service is older than this wanctl. Restart it.')
    }
    const { tasks } = v.parse(Tasks, body)
    const isTrouble = tasks.some(({ nodes }) => nodes.some(({ template }) => fails(template)))
    const states = tasks.flatMap(({ task, nodes }) =>
      nodes.map(({ node, template }) => {
        const place = nodes.length > 1 ? ` on ${node}` : ''
        return `${task}${place} is ${stateText(template)}`
      }),
    )
    const hint = isTrouble ? '. Jobs start cold. To try again: wanctl reload TASK' : ''
    return finding('template', isTrouble ? 'warning' : 'ok', `${states.join('; ')}${hint}`)
  } catch (error) {
    return finding('template', 'skipped', `the service did not say: ${messageOf(error)}`)
  }
}

/** Where no template is wanted, none is missing. */
const harmless = ['WARM_START is off', 'this node has no GPU']

const fails = (template: Template | null): boolean =>
  template?.state === 'failed' ||
  (template?.state === 'off' && !harmless.includes(template.reason ?? ''))

function stateText(template: Template | null): string {
  if (!template) return 'unknown (the node did not answer in time)'
  const { state, reason, jobs_started: jobs } = template
  return `${state}${reason === null ? `, ${jobs} jobs started` : ` (${reason})`}`
}

/** PyTorch takes seconds to import from a slow disk, and CUDA up to 3 s to start. Then something hangs. */
const maxProbeMs = 120_000

const Probe = v.object({
  ok: v.optional(v.boolean()),
  why: v.optional(v.string()),
  initS: v.optional(v.number()),
})

async function checkForks(
  { config, env, simulated }: WarmStartCheckOptions,
  service: RunningService | undefined,
): Promise<Finding> {
  if (simulated) return finding('probe', 'skipped', 'the simulator does without')
  const gpu = await idleGpu(config, service)
  if (typeof gpu === 'string') return notRun(gpu)
  const { API_TOKENS: _, WAN_TOKEN: __, DATABASE_URL: ___, ...rest } = env
  const script = join(import.meta.dirname, 'fork_probe.py')
  try {
    const said = await runTool([config.wan.python, script, dirname(launcherPath)], {
      timeoutMs: maxProbeMs,
      env: environmentFor(rest, gpu.device),
      // It may be stuck in a driver.
      afterKill: 'leave',
    })
    const lines = said.trim().split('\n')
    const { ok, why, initS } = Object.assign({}, ...lines.map(parseLine)) as v.InferOutput<
      typeof Probe
    >
    if (ok === undefined) return notRun(why ?? 'it said nothing')
    if (!ok) return cannotFork(gpu, why ?? 'it does not say why')
    const took = initS === undefined ? '' : `; CUDA started in ${initS.toFixed(1)} s`
    return finding('probe', 'ok', `a fork of PyTorch has used GPU ${gpu.id}${took}`)
  } catch (error) {
    return cannotFork(gpu, messageOf(error))
  }
}

const parseLine = (line: string) => v.parse(Probe, JSON.parse(line))

const notRun = (why: string): Finding => finding('probe', 'skipped', `could not be run: ${why}`)

const cannotFork = ({ id }: Gpu, why: string): Finding =>
  finding('probe', 'warning', `a fork cannot use GPU ${id}: ${why}. Jobs can run, but start cold.`)

const Gpus = v.object({
  gpus: v.array(v.object({ id: v.number(), job_id: v.nullable(v.string()) })),
})

/** With more in use, another program is at work on it. A driver alone takes some hundred MiB. */
const maxIdleMiB = 1_024

/** A GPU that nothing runs on, or the reason why none is known. */
async function idleGpu(config: Config, service: RunningService | undefined): Promise<Gpu | string> {
  try {
    const gpus = await detectGpus(config)
    const driver = await readDriver()
    if (!driver.ok) return `no GPU answers: ${driver.why}`
    if (!service) {
      const readings = await measureGpus()
      const isFree = (gpu: Gpu) =>
        readings
          .filter((reading) => isReadingOf(reading, gpu))
          .every(({ memoryUsedMiB }) => memoryUsedMiB <= maxIdleMiB)
      return gpus.find(isFree) ?? 'another program uses each GPU'
    }
    const { status, body } = await service.ask('/gpus')
    if (status !== 200) return needsToken
    const idle = v.parse(Gpus, body).gpus.filter(({ job_id }) => job_id === null)
    return (
      gpus.find(({ id }) => idle.some((one) => one.id === id)) ??
      'each GPU has a job. Try again later.'
    )
  } catch (error) {
    return messageOf(error)
  }
}
