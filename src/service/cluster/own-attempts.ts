/** Attempts of this node, as the database has them: which of them run, and which have to end. */
import type { Config } from '../../config/config.ts'
import { type AttemptKey, type GpuId, runsIn } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import { whenBack } from '../database/postgres.ts'
import { endFormerLifeOn } from '../own-disk.ts'
import type { OwnMachine } from './own-machine.ts'
import { untilIdle } from './until-idle.ts'

export type OwnAttemptsOptions = Pick<OwnMachine, 'reads' | 'mine' | 'machine' | 'leftovers'> &
  Readonly<{
    config: Config
    /** Of the database. */
    url: string
    log: Logger
  }>

export function createOwnAttempts({
  config,
  url,
  reads,
  mine,
  machine,
  leftovers,
  log,
}: OwnAttemptsOptions) {
  let hasLooked = false

  return {
    /** A node that was cut off may not know yet that its job runs elsewhere. */
    async isCurrent(attempt: AttemptKey): Promise<boolean> {
      return runsIn(await whenBack(() => reads.find(attempt.jobId), url, log), attempt)
    },

    /** At each welcome: attempts may have been given to others while this node was lost. */
    async endUnwatched(watched: () => readonly AttemptKey[]): Promise<readonly GpuId[]> {
      const readRunning = () => reads.openAttemptsOn(mine)
      const known = { readRunning, watched, mayConvert: hasLooked }
      const { find, gpuOf } = reads
      const unkillable = await endFormerLifeOn(config, { ...known, find, gpuOf, log })
      hasLooked = true
      leftovers.remove()
      return unkillable.map(({ gpu }) => gpu)
    },

    /** Resolves when the jobs of this node have ended. */
    async untilEnded(): Promise<void> {
      const ids = machine.owned.map(({ id }) => id)
      await untilIdle(async () => (await reads.openAttemptsOn(ids)).length > 0)
    },
  }
}
