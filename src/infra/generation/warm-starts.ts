/** The template of the task: how it is built and probed, and how generations are started from it. */
import type { TemplatePort } from '../../actors/template/template-ports.ts'
import type { TemplateEvent, TemplateMessage } from '../../actors/template/template-protocol.ts'
import { messageOf } from '../../domain/errors.ts'
import type { GpuId } from '../../domain/job.ts'
import type { Gpu } from '../machine/gpus.ts'
import type { ForkServer, ShimEnd, TemplateRun } from '../processes/fork-server.ts'
import { runTool, ToolError } from '../processes/tool.ts'
import { environmentFor, launcherOptions, launcherPath, type WanSetup } from './command.ts'

/** CUDA takes 0.3 to 3 s to start, more while drivers load. Then something hangs. */
const maxProbeMs = 60_000

export type WarmStartsOptions = Readonly<{
  wan: WanSetup
  gpus: readonly Gpu[]
  env: NodeJS.ProcessEnv
  /** Whether the next generation is forked before it is needed. */
  hasStandby: boolean
  forkServer: Pick<ForkServer, 'startShim' | 'startTemplate'>
  /** Host memory that loading needs; undefined where nobody asks for it. */
  bytesToLoad: number | undefined
  availableBytes(): number
  /** For the actor of the template. */
  tell(message: TemplateMessage): void
}>

export type WarmStarts = TemplatePort &
  GenerationStarter &
  Readonly<{
    /** Whether the next generation is forked from a template, as far as can be told. */
    startsWarm(): boolean
  }>

/** How attempts are started. */
export type GenerationStarter = Readonly<{
  /** From the template if there is one that can, and cold otherwise. Resolves when the shim ends. */
  startShim(attemptDir: string, env: NodeJS.ProcessEnv): Promise<ShimEnd>
  /** Between these, a GPU is not probed. */
  occupy(gpu: GpuId): void
  vacate(gpu: GpuId): void
  /** A generation has come to its end: this GPU works. */
  completed(gpu: GpuId): void
  /** A generation has failed, perhaps because of this GPU. */
  failed(gpu: GpuId): void
  /** A warm generation has failed in a way in which only a fork can: none is forked from now on. */
  forkFailed(why: string): void
}>

export function createWarmStarts({
  wan,
  gpus,
  env,
  hasStandby,
  forkServer,
  bytesToLoad,
  availableBytes,
  tell,
}: WarmStartsOptions): WarmStarts {
  const occupied = new Set<GpuId>()
  /** GPUs on which the last generation has come to its end. */
  const proven = new Set<GpuId>()
  let template: TemplateRun | undefined
  let isUsed = false
  /** Probes the GPU that next has no generation. */
  let probeNext: ((gpu: Gpu) => void) | undefined

  return {
    build(build, report) {
      const available = availableBytes()
      if (bytesToLoad !== undefined && available < bytesToLoad) {
        const [is, needs] = [available, bytesToLoad].map(gibibytes)
        const why = `${is} of host memory are available, and loading takes up to ${needs}`
        report({ type: 'notLoaded', build, why })
        return
      }
      try {
        template = load(build, report)
      } catch (error) {
        report({ type: 'notLoaded', build, why: messageOf(error) })
      }
    },
    probe(build, report) {
      const probed = template
      if (!probed) return // It ends, which is reported.
      const probeOn = (gpu: Gpu) => {
        probeNext = undefined
        void probe(probed, gpu).then((verdict) => report({ ...verdict, build }))
      }
      const idle = gpus.find(isToBeProbed)
      if (idle) probeOn(idle)
      else probeNext = probeOn
    },
    use() {
      isUsed = true
    },
    end() {
      isUsed = false
      probeNext = undefined
      template?.kill()
      template = undefined
    },
    startsWarm: () => isUsed,
    isMemoryShort: () => availableBytes() < (bytesToLoad ?? 0),

    startShim: (attemptDir, env) =>
      forkServer.startShim(attemptDir, env, {
        template: isUsed ? template : undefined,
        onStarted: (started) => tell({ type: 'generationStarted', ...started }),
      }),
    occupy: (gpu) => void occupied.add(gpu),
    /** At once: the next generation takes seconds to load before it uses the GPU. */
    vacate(gpu) {
      occupied.delete(gpu)
      const vacant = gpus.find(({ id }) => id === gpu)
      if (vacant && isToBeProbed(vacant)) probeNext?.(vacant)
    },
    completed(gpu) {
      proven.add(gpu)
      tell({ type: 'generationCompleted' })
    },
    failed: (gpu) => void proven.delete(gpu),
    forkFailed(why) {
      isUsed = false
      tell({ type: 'forkFailed', why })
    },
  }

  /** A GPU that is broken, or in quarantine, would say nothing about forks. */
  function isToBeProbed({ id }: Gpu): boolean {
    return !occupied.has(id) && (proven.size === 0 || proven.has(id))
  }

  function load(build: number, report: (event: TemplateEvent) => void): TemplateRun {
    const [gpu] = gpus
    const setup = {
      ...{ launcher: launcherPath, options: launcherOptions(wan), script: 'generate.py' },
      ...{ cwd: wan.wanDir, task: wan.task, checkpoint: wan.ckptDir, arguments: wan.extraArgs },
    }
    const environment = environmentFor(env, gpu?.device ?? '')
    const order = { python: wan.python, setup, env: environment, hasStandby }
    const run = forkServer.startTemplate(order, (news) => {
      if (news.template === 'ready') {
        const { tookMs, privateBytes, sharedBytes } = news
        report({ type: 'loaded', build, facts: { tookMs, privateBytes, sharedBytes } })
      } else if (news.template === 'failed') report({ type: 'notLoaded', build, why: news.why })
      else report({ type: 'outOfDate', build, why: news.why })
    })
    void run.ended.then((end) => {
      if (end.how === 'cannotStart') report({ type: 'ended', build, why: end.why })
      else {
        const said = end.stderr.trim().split('\n').at(-1)
        const status = end.signal ?? `exit code ${end.code}`
        report({ type: 'ended', build, why: `it ended (${status})${said ? `: ${said}` : ''}` })
      }
    })
    return run
  }

  /** A probe that did not come to its end says nothing of the GPU: then there is no such template. */
  async function probe(template: TemplateRun, { id, device }: Gpu) {
    try {
      await runTool(['probe'], {
        timeoutMs: maxProbeMs,
        env: environmentFor(env, device),
        start: (_, env) => template.startProbe(env),
        // It may be stuck in a driver.
        afterKill: 'leave',
      })
      return { type: 'probed' } as const
    } catch (error) {
      const why = error instanceof ToolError ? `the ${error.message}` : messageOf(error)
      if (hasNoVerdict(error)) return { type: 'ended', why } as const
      return { type: 'probed', why, isForkFault: saysForkFault(why) && proven.has(id) } as const
    }
  }
}

/** The template could not fork it, or somebody killed it. */
const hasNoVerdict = (error: unknown): boolean =>
  error instanceof ToolError &&
  (error.end?.how === 'cannotStart' || error.end?.signal === 'SIGKILL')

const gibibytes = (bytes: number): string => `${(bytes / 1024 ** 3).toFixed(1)} GiB`

/** Texts of PyTorch and of the driver when a process uses CUDA that was forked too late. */
const forkFaults =
  /re-initialize CUDA in forked|CUDA (?:driver )?initialization (?:error|failed)|CUDA error: (?:initialization error|driver shutting down|invalid device context)|CUDA_ERROR_NOT_INITIALIZED/

export const saysForkFault = (message: string): boolean => forkFaults.test(message)
