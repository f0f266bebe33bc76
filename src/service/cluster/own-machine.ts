/** The machine of a node before it joins the cluster: its disk, the numbers of its GPUs, and what runs on them. */
import { openClusterDatabase } from '../../cluster/database.ts'
import { readDatabaseClock } from '../../cluster/database-clock.ts'
import { type GpuPlace, numberGpus, readGpuPlaces } from '../../cluster/gpu-numbers.ts'
import { readHome } from '../../cluster/home.ts'
import { readClusterKeys } from '../../cluster/keys.ts'
import type { Config } from '../../config/config.ts'
import type { Check } from '../../domain/check.ts'
import type { GpuId } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import { useClock } from '../../domain/time.ts'
import { watchFiles } from '../../infra/disk/file-watch.ts'
import { detectGpus, identifyGpus } from '../../infra/machine/gpus.ts'
import { openNodeReads } from '../../infra/store/postgres/open-node-reads.ts'
import { createHousekeeping } from '../../infra/upkeep/housekeeping.ts'
import { readLinkKey } from '../../infra/webhooks/link-key.ts'
import { whenReachable } from '../database/postgres.ts'
import { createMachine, formerGpus } from '../machine.ts'
import { openOwnDisk, removeHalfMade } from '../own-disk.ts'
import { openNodeResults, whyNotShared } from './node-results.ts'
import { createOwnLeftovers } from './own-leftovers.ts'
import { hasNoGpus, nameOf } from './own-node.ts'
import { prepareStart } from './prepare-start.ts'

export type OwnMachineOptions = Readonly<{
  config: Config
  /** Of the database. */
  url: string
  checkDatabase(): Promise<Check>
  /** The lock of the data directory was removed. */
  onUnlocked(why: string): void
  log: Logger
}>

export type OwnMachine = Awaited<ReturnType<typeof openOwnMachine>>

/** Rejects with a message for the operator when this node may not start. */
export async function openOwnMachine(
  { config, url, checkDatabase, onUnlocked, log }: OwnMachineOptions,
  resources: AsyncDisposableStack,
) {
  const patiently = <Result>(work: () => Promise<Result>) => whenReachable(work, url, log)
  const found = hasNoGpus(config) ? [] : await detectGpus(config)
  const { lockPath, reserve } = openOwnDisk(config, resources)
  resources.use(watchFiles([lockPath], onUnlocked))
  const me = { name: nameOf(config), home: await readHome(config.dataDir) }
  const database = resources.adopt(await openClusterDatabase({ url }), ({ close }) => close())
  const { beats: connection, mail } = database
  const clock = await patiently(() => readDatabaseClock(connection))
  useClock(clock.now)
  const joining = { connection, me, clock, log, lostMs: config.node.lostMs }
  const place = await prepareStart({ ...joining, config, url, database })

  const gpus = await patiently(() => numberGpus(mail, me, found, identifyGpus))
  const places = new Map(await patiently(() => readGpuPlaces(mail)))
  const keys = await patiently(() => readClusterKeys(mail, readLinkKey(config.linkKey)))
  const reads = resources.adopt(await openNodeReads(url), ({ close }) => close())
  const isMine = ({ node, home }: GpuPlace) => node === me.name && home === me.home
  /** All numbers that GPUs of this machine have or had. */
  const mine = [...places].flatMap(([gpu, place]) => (isMine(place) ? [gpu] : []))
  const running = await patiently(() => reads.openAttemptsOn(mine))
  const lost = await patiently(() => reads.gpusWithLostAttempts(mine))
  const deviceOf = (gpu: GpuId) => places.get(gpu)?.device ?? String(gpu)
  const owned = [...gpus, ...formerGpus(gpus, running, { lost, deviceOf })]

  const sharing = { config, connection: mail, me, secret: keys.secret, log }
  const results = await patiently(() => openNodeResults(sharing))
  const machine = createMachine({ config, gpus, owned, results, checkDatabase, log }, resources)
  await removeHalfMade(config, results)
  const { archiveDir, data } = config
  return {
    ...{ me, database, clock, places, keys, reads, mine, machine, reserve },
    /** For `joinCluster`. */
    joining: { ...joining, place },
    leftovers: createOwnLeftovers({ config, results, reads, gpus: mine, log }),
    housekeeping: createHousekeeping({ data, reserve, archiveDir, known: reads.known }),
    /** Undefined: this node and the others agree whether they share a directory. */
    whyNotShared: () => patiently(() => whyNotShared(sharing)),
  }
}
