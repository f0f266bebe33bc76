/** The actors of a machine, whoever leads: its GPUs, what serves them, and the node that stands for it. */
import { type ActorSystem, ask, createPlace, tell } from '../actors/actor.ts'
import type { ActorRef } from '../actors/actor-ref.ts'
import { conversionBehaviour } from '../actors/conversion/conversion-actor.ts'
import type { ConversionMessage } from '../actors/conversion/conversion-protocol.ts'
import { caretakerBehaviour } from '../actors/gpu/caretaker-actor.ts'
import type { CaretakerMessage } from '../actors/gpu/caretaker-transition.ts'
import { gpuBehaviour } from '../actors/gpu/gpu-actor.ts'
import type { GpuMessage } from '../actors/gpu/gpu-protocol.ts'
import type { Housekeeping } from '../actors/janitor/janitor-ports.ts'
import { nodeBehaviour } from '../actors/node/node-actor.ts'
import type { NodeMessage } from '../actors/node/node-protocol.ts'
import type { NodeActors as FleetActors } from '../actors/queue/fleet.ts'
import type { QueueMessage } from '../actors/queue/queue-protocol.ts'
import { child } from '../actors/supervisor/supervisor.ts'
import type { SupervisorMessage } from '../actors/supervisor/supervisor-protocol.ts'
import { templateBehaviour } from '../actors/template/template-actor.ts'
import type { TemplateMessage } from '../actors/template/template-protocol.ts'
import { confirmedMs } from '../cluster/membership.ts'
import { bytesPerLoad, type Config } from '../config/config.ts'
import type { AttemptKey, GpuId, JobId } from '../domain/job.ts'
import type { Logger } from '../domain/log.ts'
import { withConfirmedStart } from '../infra/generation/confirmed-start.ts'
import { withFetchedImage } from '../infra/generation/fetched-image.ts'
import { createGenerationRunner } from '../infra/generation/runner.ts'
import { createWarmStarts } from '../infra/generation/warm-starts.ts'
import { simulatorDir } from '../infra/installation/simulation.ts'
import { availableMemory } from '../infra/machine/available-memory.ts'
import { createVideoTools } from '../infra/media/video-tools.ts'
import { childOf, type Machine } from './machine.ts'
import { noting, type WatchedAttempts } from './watched-attempts.ts'

export type NodeActorsOptions = Readonly<{
  config: Config
  machine: Machine
  env: NodeJS.ProcessEnv
  /** That of the leader. */
  queue: ActorRef<QueueMessage>
  housekeeping: Pick<Housekeeping, 'removeLeftOvers'>
  /**
   * Ends processes of attempts that do not run any more, but for those that an actor watches.
   * Returns the GPUs of those that survive SIGKILL.
   */
  endUnwatched(watched: () => readonly AttemptKey[]): Promise<readonly GpuId[]>
  /** The service is not worth running without the actor that stands for the machine. */
  isNodeSignificant?: boolean
  /** Reads a part of the image of a job that another node took; absent: images are on this disk. */
  fetchImagePart?(jobId: JobId, part: number): Promise<Buffer | undefined>
  /** Whether a job still runs in this attempt; absent: no other node can have it. */
  isCurrent?(attempt: AttemptKey): Promise<boolean>
  /** Whether nobody can have counted this node as lost; absent: there is no other node. */
  isConfirmed?(): boolean
  /** The queue knows this node. */
  onWelcome?(): void
  /** Called before all actors announce themselves to the queue. */
  onAnnounce?(): void
  log: Logger
}>

export type NodeActors = ReturnType<typeof createNodeActors>

export function createNodeActors(system: ActorSystem, options: NodeActorsOptions) {
  const { config, machine, env, queue, fetchImagePart, isCurrent, isConfirmed, log } = options
  const { data, wan, graceMs, jobTimeoutMs } = config
  const { gpus, owned, observe, forkServer } = machine
  const node = createPlace<NodeMessage>('node')
  const conversion = createPlace<ConversionMessage>('conversion')
  const caretaker = createPlace<CaretakerMessage>('caretaker')
  const template = createPlace<TemplateMessage>('template')
  const places = new Map(owned.map(({ id }) => [id, createPlace<GpuMessage>(childOf(id))]))
  /** The supervisor is started with the actors below it. */
  const supervisor = createPlace<SupervisorMessage>('supervisor')
  const starter = createWarmStarts({
    ...{ wan, gpus, env, forkServer },
    hasStandby: config.hasStandby,
    bytesToLoad: asksForMemory(config) ? bytesPerLoad(wan) : undefined,
    availableBytes: availableMemory,
    tell: (message) => tell(template, message),
  })
  const watched: WatchedAttempts = new Map()
  const runners = new Map(
    owned.map(({ id: gpu, device }) => {
      const runner = createGenerationRunner({ data, wan, gpu, device, env, starter, observe, log })
      const maxAgeMs = confirmedMs(config.node.lostMs)
      const confirmedBy = (isConfirmed: () => boolean) =>
        isCurrent ? withConfirmedStart(runner, { isConfirmed, isCurrent, maxAgeMs }) : runner
      const confirmed = isConfirmed ? confirmedBy(isConfirmed) : runner
      // The node may be lost and join again while it fetches an image: its beats do not confirm the attempt then.
      const { start: startLate } = confirmedBy(() => false)
      const whole = fetchImagePart
        ? withFetchedImage(confirmed, { data, startLate, fetchImagePart, log })
        : confirmed
      return [gpu, whole]
    }),
  )

  const children = [
    child(system, conversion, () => {
      const { results } = machine
      const { startTool: start } = forkServer
      const tools = createVideoTools({ data, results, isCurrent, fit: config.fit720, start })
      const limit = config.maxConversions
      return conversionBehaviour({ task: wan.task, tools, queue, limit, log })
    }),
    child(system, template, () => {
      const impossible = whyNoTemplate(machine, config)
      const { warmStart, warmStartIdleMs: idleMs } = config
      const settings = { warmStart, idleMs, impossible }
      return templateBehaviour({ settings, port: starter, queue, observe, log })
    }),
    // A job whose node was lost returns to no caretaker: its attempt there is ended as if nobody watched it.
    child(system, caretaker, () => caretakerBehaviour({ runners, queue, graceMs, jobTimeoutMs })),
    ...[...runners].map(([gpu, runner]) =>
      child(system, places.get(gpu) ?? createPlace(childOf(gpu)), () =>
        gpuBehaviour({ gpu, runner: noting(runner, watched), queue, graceMs, jobTimeoutMs }),
      ),
    ),
    child(
      system,
      node,
      () =>
        nodeBehaviour({
          machine: {
            videoFiles: machine.videoFiles,
            jobFiles: machine.workFiles,
            housekeeping: options.housekeeping,
            installation: machine.checks,
            gpus: owned.map(({ id }) => id),
            childOf,
            measured: machine.measured,
            noteWelcome: () => options.onWelcome?.(),
            endUnwatched: () => options.endUnwatched(() => [...watched.values()]),
            announce,
          },
          supervisor,
          log,
        }),
      { significant: options.isNodeSignificant ?? false },
    ),
  ]
  machine.listen((checks) => tell(queue, { type: 'environmentChecked', checks }))

  return {
    children,
    supervisor,
    startsWarm: starter.startsWarm,
    actors: {
      ...{ node, conversion, caretaker, template },
      gpu: (gpu: GpuId) => places.get(gpu),
    } satisfies FleetActors,
    /** All that are told things, for tests of crashes. */
    places: [node, conversion, template, caretaker, ...places.values()],
    /** Tells the queue that the actor of a GPU is gone. False: the child is another one. */
    tellGone,
  }

  function announce(unkillable: readonly GpuId[]): void {
    options.onAnnounce?.()
    for (const gpu of unkillable) tell(queue, { type: 'processesLeft', gpu })
    tell(conversion, { type: 'announce' })
    tell(caretaker, { type: 'announce' })
    for (const gpu of places.values()) tell(gpu, { type: 'announce' })
    void tellGivenUp()
    machine.checks.tellAgain()
  }

  /** The queue was told of it once, and may not have heard it. */
  async function tellGivenUp(): Promise<void> {
    const found = await ask(supervisor, { type: 'whichChildren' }).catch(() => [])
    for (const { id, phase } of found) if (phase === 'given_up') tellGone(id, true)
  }

  function tellGone(childId: string, givenUp: boolean): void {
    const gone = owned.find(({ id }) => childOf(id) === childId)
    if (gone) tell(queue, { type: 'gpuGone', gpu: gone.id, givenUp })
  }
}

const whyNoTemplate = ({ gpus }: Machine, { wan }: Config): string | undefined =>
  gpus.length === 0 ? 'this node has no GPU' : wan.launcher ? undefined : 'WAN_LAUNCHER is 0'

/** The simulator takes next to no memory. */
const asksForMemory = ({ warmStart, wan }: Config): boolean =>
  warmStart === 'auto' && wan.wanDir !== simulatorDir
