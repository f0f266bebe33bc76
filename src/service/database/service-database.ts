/** What the service needs of a database. */
import type { Kysely } from 'kysely'
import type { AttemptHistory, EstimateLog } from '../../actors/eta/eta-ports.ts'
import type { Config } from '../../config/config.ts'
import type { Check } from '../../domain/check.ts'
import type { GpuId } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import type { Reserve } from '../../infra/disk/reserve.ts'
import type { JobStore } from '../../infra/store/job-store.ts'
import type { Database } from '../../infra/store/schema.ts'
import type { Backups } from '../../infra/upkeep/backups.ts'

export type ServiceDatabase = Readonly<{
  db: Kysely<Database>
  /** Each actor that changes jobs has a store of its own. */
  jobs: Readonly<{ queue: JobStore; archive: JobStore }>
  eta: AttemptHistory & EstimateLog
  /** Whether what is written now is stored. */
  check(): Promise<Check>
  /** Size on its disk. */
  bytes(): Promise<number>
  /** Absent: whoever runs the server backs it up. */
  backups?: Backups
  close(): Promise<void>
}>

export type DatabaseOptions = Readonly<{
  config: Config
  gpuModels: ReadonlyMap<GpuId, string | undefined>
  reserve: Reserve
  /** Path of the lock of the data directory. */
  lockPath: string
  log: Logger
  /** Called when the database or a lock belongs to another service, or nothing can be written any more. */
  onLost(why: string): void
}>
