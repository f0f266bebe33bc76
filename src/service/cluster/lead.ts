/** What a node does when it is elected, besides the work of every node. */
import { type ActorRef, ask, createPlace, startActorSystem, tell } from '../../actors/actor.ts'
import type { ArchiveMessage } from '../../actors/archive/archive-protocol.ts'
import type { Housekeeping } from '../../actors/janitor/janitor-ports.ts'
import { createMachines } from '../../actors/node/machines.ts'
import type { QueueMessage } from '../../actors/queue/queue-protocol.ts'
import type { ChildView } from '../../actors/supervisor/supervisor-protocol.ts'
import { atMostEvery } from '../../cluster/at-most-every.ts'
import type { ClusterDatabase } from '../../cluster/database.ts'
import { type GpuPlace, readGpuPlaces } from '../../cluster/gpu-numbers.ts'
import type { References } from '../../cluster/references.ts'
import type { Config } from '../../config/config.ts'
import { createAddressGuard } from '../../domain/address-guard.ts'
import type { GpuId } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import type { NodeName } from '../../domain/node.ts'
import type { Peers } from '../../http/peers/peers.ts'
import type { Certainty } from '../../http/request/certainty.ts'
import type { Memory } from '../../http/request/lane.ts'
import type { Reserve } from '../../infra/disk/reserve.ts'
import { createClusterWorkFiles } from '../../infra/store/postgres/cluster-work-files.ts'
import { createImageStore } from '../../infra/store/postgres/image-store.ts'
import { openLedPostgres, whenBack } from '../database/postgres.ts'
import { createLeaderActors } from '../leader-actors.ts'
import { cancelWaitOf, createLeaderApp, linksOf } from '../leader-app.ts'
import type { Machine } from '../machine.ts'
import type { NodeActors } from '../node-actors.ts'
import { everyRunning, openRecords } from '../records.ts'
import { supervise } from '../supervision.ts'
import { watchCertainty } from './certainty.ts'
import { createClusterFleet } from './fleet.ts'
import { createRemoteFiles } from './remote-files.ts'
import { sweepResults } from './results-sweep.ts'

export type LeadOptions = Readonly<{
  config: Config
  /** Of the database. */
  url: string
  me: NodeName
  machine: Machine
  /** Actors of this node. */
  own: NodeActors
  database: ClusterDatabase
  places: Map<GpuId, GpuPlace>
  references: References
  peers: Peers
  linkKey: Buffer
  memory: Memory
  /** Actors of every node, on this machine. */
  children(): Promise<readonly ChildView[]>
  housekeeping: Housekeeping
  reserve: Reserve
  certainty: Certainty
  /** A commit that began then, by the monotonic clock, is stored: this node leads. */
  onCommitted(beganAt: number): void
  /** Another node leads. */
  onOver(why: string): void
  onGivenUp(part: string): void
  log: Logger
}>

/** With 1,600 GPUs the queue is busy for about 0.1 s when all announce themselves. */
const announceAgainMs = 5_000

/** A queue that waits for the database closes later. */
const maxCloseMs = 5_000

export type Lead = Awaited<ReturnType<typeof takeLead>>

export async function takeLead(term: number, options: LeadOptions) {
  const { config, url, me, machine, own, database, places, references } = options
  const { certainty, onCommitted, onOver, onGivenUp, reserve, memory, peers, log } = options
  const { isCertain } = certainty
  const patiently = <Result>(work: () => Promise<Result>) => whenBack(work, url, log)
  await using resources = new AsyncDisposableStack()
  for (const [gpu, place] of await patiently(() => readGpuPlaces(database.mail))) {
    places.set(gpu, place)
  }
  /** GPUs may join later. */
  const kinds = new Map([...places].map(([gpu, { name }]) => [gpu, name]))
  const led = resources.adopt(
    await openLedPostgres(url, { config, gpuModels: kinds, term, onCommitted, onOver, log }),
    ({ close }) => close(),
  )
  const images = createImageStore(led.db, term)
  await patiently(images.removeOrphans)
  const withImage = await patiently(images.jobs)
  const records = await patiently(() => openRecords(led, { config, reserve, log }))
  const system = startActorSystem()
  const busyGpus = async () => {
    const { jobs } = await patiently(() => led.jobs.archive.list(everyRunning, 'everything'))
    return jobs.flatMap(({ state }) => ('gpu' in state ? (state.gpu ?? []) : []))
  }
  const queue = createPlace<QueueMessage>('queue')
  const archive = createPlace<ArchiveMessage>('archive')
  const fleet = createClusterFleet({
    ...{ me, term, database, places, kinds, busyGpus, references, queue, archive, log },
    isCertain,
    own: own.actors,
    lostMs: config.node.lostMs,
  })
  resources.defer(fleet.stop)
  const files = createRemoteFiles(fleet, machine.videoFiles)
  const { resultsShared } = config
  const guard = createAddressGuard(config.webhookAllow)
  const links = linksOf(config, () => options.linkKey)
  const work = createClusterWorkFiles({ images, withImage, data: config.data, local: files })
  const actors = createLeaderActors(system, {
    ...{ config, records, fleet, guard, links, log },
    housekeeping: { ...options.housekeeping, removeLeftOvers: files.removeLeftOvers },
    // Its GPUs join as those of all nodes do.
    ...{ node: me, gpus: [], kinds },
    startsWarm: own.startsWarm,
    files: {
      ...{ results: machine.videoFiles, work, jobs: files },
      // In a shared directory, all videos are at hand.
      ...(resultsShared
        ? { videos: machine.videoFiles, away: () => [] }
        : { videos: files, away: fleet.away }),
    },
    // Each node looks after its own.
    watchesDisks: false,
    cancelWaitMs: cancelWaitOf(config),
    observe: machine.observe,
  })
  if (resultsShared) {
    const jobs = led.jobs.archive
    resources.defer(sweepResults({ results: machine.results, jobs, log }).stop)
  }
  queue.seat(actors.queue)
  archive.seat(actors.archive)
  const supervisor = supervise(system, {
    children: actors.children,
    places: [actors.supervisor],
    tellGone: () => {},
    ...{ onGivenUp, log },
  })
  resources.defer(async () => {
    await ask(supervisor, { type: 'shutdown' })
  })
  const children = async () =>
    (await Promise.all([ask(supervisor, { type: 'whichChildren' }), options.children()])).flat()
  const app = createLeaderApp({
    ...{ config, machine, actors, own, records, guard, links, memory, children, log },
    node: me,
    templatesElsewhere: () =>
      fleet.nodes
        .members()
        .flatMap(({ name }) => (name === me ? [] : [[name, fleet.at(name)?.template] as const])),
    machines: createMachines(fleet, fleet.gpus),
    nodes: fleet.nodes,
    holder: (gpu, kind) => (resultsShared && kind !== 'log' ? 'here' : fleet.holder(gpu)),
    database: led,
    ...{ peers, certainty },
  })
  const endStreams = () => void tell(actors.events, { type: 'close' })
  resources.defer(watchCertainty(isCertain, endStreams))
  const missed = atMostEvery(announceAgainMs, fleet.missed)
  resources.defer(async () => missed.stop())
  const held = resources.move()

  return {
    term,
    app,
    actors: { queue: actors.queue, fleet: fleet.ref },
    /** Those that other nodes reach. */
    published: [actors.queue, fleet.ref] as readonly ActorRef<never>[],
    crashable: actors.places,
    checkDatabase: led.check,
    missed: missed.call,
    /** Takes nothing new. Generations go on, and the next leader takes them up. */
    async close() {
      await ask(actors.queue, { type: 'close', mode: 'detach' }, maxCloseMs).catch(() => {})
      tell(actors.events, { type: 'close' })
    },
    stop: () => held.disposeAsync(),
  }
}
