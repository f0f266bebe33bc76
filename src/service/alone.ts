/** A service on a machine of its own, with a SQLite database: this node leads, and there is no other. */
import { setTimeout as delay } from 'node:timers/promises'
import { ask, createPlace, startActorSystem, tell } from '../actors/actor.ts'
import { createMachines } from '../actors/node/machines.ts'
import type { QueueMessage } from '../actors/queue/queue-protocol.ts'
import type { Config } from '../config/config.ts'
import { version } from '../config/version.ts'
import { createAddressGuard } from '../domain/address-guard.ts'
import type { AttemptKey, Job } from '../domain/job.ts'
import { soleNode } from '../domain/node.ts'
import { maxTimerMs } from '../domain/time.ts'
import { resultsDirectory } from '../infra/disk/results-directory.ts'
import { detectGpus } from '../infra/machine/gpus.ts'
import { survivorsOf } from '../infra/processes/strays.ts'
import { createHousekeeping } from '../infra/upkeep/housekeeping.ts'
import { readLinkKey } from '../infra/webhooks/link-key.ts'
import type { ServiceDatabase } from './database/service-database.ts'
import { openSqlite } from './database/sqlite.ts'
import { injectFaults } from './faults.ts'
import { announce, openFront } from './front.ts'
import { createLeaderActors } from './leader-actors.ts'
import { cancelWaitOf, createLeaderApp, linksOf } from './leader-app.ts'
import { createLocalFleet } from './local-fleet.ts'
import { createMachine, formerGpus } from './machine.ts'
import { createNodeActors } from './node-actors.ts'
import { endFormerLifeOn, openOwnDisk, removeHalfMade } from './own-disk.ts'
import { everyRunning, openRecords } from './records.ts'
import type { Running, StartOptions } from './running.ts'
import { supervise } from './supervision.ts'

/** Time to close a database that is lost to this service. */
const maxCloseMs = 2_000

export async function startAlone(
  config: Config,
  { log, env, onGivenUp }: StartOptions,
): Promise<Running> {
  const gpus = await detectGpus(config)
  await using resources = new AsyncDisposableStack()
  const { lockPath, reserve } = openOwnDisk(config, resources)
  let database: ServiceDatabase | undefined
  const gpuModels = new Map(gpus.map(({ id, name }) => [id, name]))
  const settings = { config, gpuModels, reserve, lockPath, log, onLost: endWithoutStorage }
  const opened = resources.adopt(await openSqlite(settings), ({ close }) => close())
  database = opened
  const { jobs, backups } = opened
  const records = await openRecords(opened, { config, reserve, log })
  const { jobs: running } = await jobs.archive.list(everyRunning, 'everything')
  const results = resultsDirectory(config.data.resultsDir)
  await removeHalfMade(config, results)
  const find = (jobId: Job['id']) => jobs.archive.find(jobId, 'everything')
  const gpuOf = async ({ jobId, epoch }: AttemptKey) =>
    (await jobs.archive.attempts(jobId)).find((attempt) => attempt.epoch === epoch)?.gpu
  const former = { readRunning: async () => running, find, gpuOf, log }
  const unkillable = await endFormerLifeOn(config, former)

  const owned = [...gpus, ...formerGpus(gpus, running)]
  const machine = createMachine(
    { config, gpus, owned, results, checkDatabase: opened.check, log },
    resources,
  )
  const { archiveDir, data } = config
  const housekeeping = createHousekeeping({
    ...{ data, reserve, archiveDir, known: records.known },
    ...(backups && { backups }),
  })
  const system = startActorSystem()
  const queue = createPlace<QueueMessage>('queue')
  const own = createNodeActors(system, {
    ...{ config, machine, env, queue, housekeeping, log },
    // That was done before anything was claimed, but some may not have ended yet.
    endUnwatched: async () => (await survivorsOf(unkillable)).map(({ gpu }) => gpu),
  })
  const fleet = createLocalFleet(own.actors)
  const { videoFiles, workFiles } = machine
  const guard = createAddressGuard(config.webhookAllow)
  const links = linksOf(config, () => readLinkKey(config.linkKey))
  const actors = createLeaderActors(system, {
    ...{ config, records, fleet, housekeeping, guard, links, log },
    node: soleNode,
    gpus: gpus.map(({ id }) => id),
    kinds: gpuModels,
    startsWarm: own.startsWarm,
    files: {
      ...{ results: videoFiles, work: workFiles, videos: videoFiles, jobs: workFiles },
      away: () => [],
    },
    watchesDisks: true,
    cancelWaitMs: cancelWaitOf(config),
    observe: machine.observe,
  })
  queue.seat(actors.queue)
  const supervisor = supervise(system, {
    children: [...actors.children, ...own.children],
    places: [actors.supervisor, own.supervisor],
    tellGone: own.tellGone,
    ...{ onGivenUp, log },
  })
  resources.defer(async () => {
    await ask(supervisor, { type: 'shutdown' })
  })
  if (config.faultInjection)
    injectFaults(config, () => [...actors.places, ...own.places], resources)

  // The connections say so as soon as there are some.
  const memory = { isShort: () => false }
  const app = createLeaderApp({
    ...{ config, machine, actors, own, records, guard, links, memory, log },
    node: soleNode,
    machines: createMachines(fleet, () => owned),
    nodes: {
      members: () => [
        {
          ...{ name: soleNode, url: config.baseUrl || front.url, version },
          ...{ role: 'leader', state: 'present' },
        },
      ],
      // The queue refuses to remove the only node, which is there.
      remove: (_, letGo) => letGo(),
    },
    database: opened,
    children: () => ask(supervisor, { type: 'whichChildren' }),
  })
  const { observe } = machine
  const front = await openFront(app, { config, gpus: owned, memory, observe, log }, resources)
  machine.forkServer.warmUp()
  announce(front, config, gpus, log)

  const held = resources.move()
  return {
    url: front.url,
    /** By default generations are left to their shims, and the next start adopts them. */
    async stop(mode) {
      await ask(actors.queue, { type: 'close', mode }, maxTimerMs).catch(() => {})
      tell(actors.events, { type: 'close' })
      await held.disposeAsync()
    },
  }

  /** Generations go on in their shims, for the service that takes the database over. */
  function endWithoutStorage(why: string): void {
    log.error({ reason: why }, 'the database is no longer that of this service')
    // What is in a journal that was removed gets back into the database.
    const closed = database?.close().catch(() => {})
    void Promise.race([closed, delay(maxCloseMs)]).then(() => onGivenUp('database'))
  }
}
