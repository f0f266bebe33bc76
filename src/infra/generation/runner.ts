import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type {
  AttemptOrder,
  GenerationHandle,
  GenerationObserver,
  GenerationResult,
  GenerationRunner,
  StopReason,
} from '../../actors/gpu/gpu-ports.ts'
import type { GpuId, Reading, Timestamp } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import { attemptDirectory, type DataDirectory, logOf } from '../disk/data-directory.ts'
import { hasNoRoom } from '../disk/free-space.ts'
import type { ForkServer, ShimEnd } from '../processes/fork-server.ts'
import {
  connectToShim,
  killShim,
  lastWordsOfShim,
  readExit,
  revoke,
  type ShimConnection,
  type ShimExit,
  shimEnds,
  shimLife,
} from '../processes/shim-client.ts'
import { killStrays } from '../processes/strays.ts'
import { commandOfAttempt, environmentFor, type WanSetup } from './command.ts'
import { classifyExit } from './progress/failure.ts'
import { createGenerationReader } from './progress/generation-reader.ts'
import { followOutput } from './progress/output-follower.ts'

export type RunnerOptions = Readonly<{
  data: DataDirectory
  wan: WanSetup
  gpu: GpuId
  /** What CUDA_VISIBLE_DEVICES gets. */
  device: string
  env: NodeJS.ProcessEnv
  forkServer: Pick<ForkServer, 'startShim'>
  log: Logger
}>

/** How soon a shim that did not answer is tried again. */
const reconnectMs = 25

/** A stop that has had no effect so long after the grace is carried out by ourselves. */
const afterGraceMs = 3_000

/** A disk that was full so shortly before the end had to do with it. */
const fullBeforeMs = 5_000

/** A shim that has begun but not said who it is by then has died in between. */
const beginningMs = 5_000

/** Runs `generate.py` on one GPU, each generation in a process and a shim of its own that outlive us. */
export function createGenerationRunner(options: RunnerOptions): GenerationRunner {
  const { data, wan, device, env, forkServer } = options

  return {
    start(order, observer) {
      const attemptDir = attemptDirectory(data, order)
      const generation = observe(options, order, observer)
      try {
        mkdirSync(attemptDir, { recursive: true })
        const argv = commandOfAttempt(data, wan, order)
        const spec = { job: order.jobId, epoch: order.epoch, argv, cwd: wan.wanDir }
        writeFileSync(join(attemptDir, 'spec.json'), JSON.stringify(spec))
        generation.begin(forkServer.startShim(attemptDir, environmentFor(env, device)))
      } catch (error) {
        generation.giveUp(error instanceof Error ? error.message : String(error))
      }
      return generation.handle
    },

    adopt(order, observer) {
      const generation = observe(options, order, observer)
      generation.begin()
      return generation.handle
    },
  }
}

function commandIn(attemptDir: string): readonly string[] | undefined {
  try {
    const spec = JSON.parse(readFileSync(join(attemptDir, 'spec.json'), 'utf8')) as {
      argv: string[]
    }
    return spec.argv
  } catch {
    return undefined
  }
}

/** Watches one attempt, begun by us or by somebody before us: that makes no difference from here on. */
function observe(
  { data, wan, gpu, device, log }: RunnerOptions,
  order: AttemptOrder,
  observer: GenerationObserver,
) {
  const { jobId, epoch, request } = order
  const attemptDir = attemptDirectory(data, order)
  const fields = { jobId, epoch, gpu }
  let output: ReturnType<typeof followOutput> | undefined
  let connection: ShimConnection | undefined
  let stopOrder: { reason: StopReason; graceMs: number } | undefined
  let ending = false
  let over = false
  /** Whether we are told if it ends without having begun. */
  let isWatched = false
  let isStarted = false
  let fullAt = Number.NEGATIVE_INFINITY

  const handle: GenerationHandle = {
    stop(reason, graceMs) {
      stopOrder ??= { reason, graceMs }
      connection?.stop(stopOrder.reason, graceMs)
      setTimeout(() => void force(), graceMs + afterGraceMs).unref()
    },
    detach() {
      over = true
      connection?.close()
      output?.stop()
    },
  }

  return {
    handle,
    /** `shimEnded`: only of a shim that we have had started. */
    begin(shimEnded?: Promise<ShimEnd>): void {
      isWatched = shimEnded !== undefined
      void shimEnded
        ?.then(hearOfItsEnd)
        .catch((error: unknown) => giveUp(error instanceof Error ? error.message : String(error)))
      seek()
    },
    giveUp,
  }

  async function hearOfItsEnd(end: ShimEnd): Promise<void> {
    if (end.how === 'cannotStart') giveUp(end.why)
    else if (end.how === 'ended') await shimGone(end.signal)
    else isWatched = false
  }

  function seek(): void {
    void lookForIt().catch((error: unknown) => {
      log.error({ ...fields, err: error }, 'the generation could not be observed')
      void lose()
    })
  }

  /** Until there is an exit, a shim that answers, or certainty that there will be neither. */
  async function lookForIt(): Promise<void> {
    const giveUpAt = Date.now() + beginningMs
    while (!over && !ending) {
      const exit = await readExit(attemptDir)
      if (exit) return void (await end(exit))
      if (await connect()) return
      if (!isWatched && revoke(attemptDir)) return finish({ how: 'neverBegan' })
      const life = await shimLife(attemptDir)
      if (life === 'dead' || (life === 'unknown' && Date.now() > giveUpAt)) return shimGone()
      await new Promise((resolve) => setTimeout(resolve, reconnectMs))
    }
  }

  /** The result it left is looked for after its end, and so cannot be missed. */
  async function shimGone(killedBy: string | null = null): Promise<void> {
    const exit = await readExit(attemptDir)
    if (exit) await end(exit)
    // Killed before it could begin: no fault of the installation, so it is worth another try.
    else if (killedBy === null && existsSync(attemptDir) && revoke(attemptDir)) {
      giveUp(`The shim failed: ${await lastWordsOfShim(attemptDir)}`)
    } else await lose()
  }

  /** Resolves with whether the shim has answered; from then on its words drive us. */
  function connect(): Promise<boolean> {
    return new Promise((resolve) => {
      let greeted = false
      const candidate = connectToShim(attemptDir, order, {
        hello(startedAt) {
          greeted = true
          resolve(true)
          if (over) candidate.close()
          else {
            connection = candidate
            started(startedAt ?? Date.now())
            if (stopOrder) connection.stop(stopOrder.reason, stopOrder.graceMs)
          }
        },
        exit: (exit) => void end(exit),
        closed() {
          connection = undefined
          if (greeted) {
            isWatched = false
            seek()
          }
          resolve(false)
        },
      })
    })
  }

  function started(at: Timestamp): void {
    if (isStarted || over) return
    isStarted = true
    observer.started(at, commandIn(attemptDir))
    const reader = createGenerationReader({ totalSteps: request.steps, startedAt: at })
    let told: Reading | undefined
    output = followOutput({
      attemptDir,
      logPath: logOf(data, jobId),
      title: `=== attempt ${epoch} on GPU ${device}, begun ${new Date(at).toISOString()} ===`,
      reader,
      onRead() {
        noteRoom()
        const { reading } = reader
        if (over || !reading || isDeepStrictEqual(reading, told)) return
        told = reading
        observer.reported(reading)
      },
      onError: (error) => log.warn({ ...fields, err: error }, 'output could not be followed'),
    })
  }

  /** The shim does not answer, or its worker does not die: without the shim there is an end at least. */
  async function force(): Promise<void> {
    if (over || ending) return
    log.warn(fields, 'the shim did not stop its generation and is killed')
    await killStrays(order)
    await killShim(attemptDir)
  }

  /** What failed for want of room may have made some by its end. */
  function noteRoom(): void {
    if (hasNoRoom(attemptDir)) fullAt = Date.now()
  }

  async function end(exit: ShimExit): Promise<void> {
    if (over || ending) return
    ending = true
    started(exit.startedAt)
    const { code, signal, strays, unreaped } = exit
    log.info({ ...fields, code, signal, strays, unreaped }, 'generation ended')
    noteRoom()
    const diskFull = Date.now() - fullAt < fullBeforeMs
    const evidence = await output?.finish()
    // Whoever had it stopped is told when no process of it is left, the shim included.
    if (stopOrder) await shimEnds(attemptDir)
    if (unreaped > 0) return finish({ how: 'unkillable' })
    const failure = classifyExit(exit, { finished: false, ...evidence, diskFull })
    finish(failure ? { how: 'failed', failure } : { how: 'completed' })
  }

  async function lose(): Promise<void> {
    if (over || ending) return
    ending = true
    const unkillable = await killStrays(order)
    log.warn({ ...fields, unkillable }, 'generation lost')
    if (existsSync(attemptDir)) started(Date.now())
    await output?.finish()
    finish({ how: unkillable > 0 ? 'unkillable' : 'lost' })
  }

  function giveUp(why: string): void {
    const error = `${why} (WAN_PYTHON is ${wan.python})`
    const failure = classifyExit(
      { code: null, signal: null, reason: null, error },
      { finished: false },
    )
    if (failure) finish({ how: 'failed', failure })
  }

  function finish(result: GenerationResult): void {
    if (over) return
    over = true
    connection?.close()
    output?.stop()
    observer.ended(result)
  }
}
