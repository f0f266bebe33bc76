import { causeOf } from '../../domain/client.ts'
import type { Disk } from '../../domain/disk.ts'
import type { Doubt } from '../../domain/hold.ts'
import type { Logger } from '../../domain/log.ts'
import type { Trouble } from './disk-protocol.ts'
import type { JanitorEffect } from './janitor-protocol.ts'
import type { Run } from './retention-protocol.ts'

/** Effects that only write to the log. */
export type LogEffect = Extract<JanitorEffect, { do: `log${string}` }>

export const isLogEffect = (effect: { readonly do: string }): effect is LogEffect =>
  effect.do.startsWith('log')

/** The log of the janitor: disks, backups and what has expired. */
export function createJanitorLog(log: Logger, minFreeBytes: number) {
  return (effect: LogEffect): void => {
    switch (effect.do) {
      case 'logNoRoom':
        log.warn(
          { disks: effect.disks.map(diskFields), minFreeMb: inMib(minFreeBytes) },
          'a disk is short of room; no job is taken or begun until there is more',
        )
        break
      case 'logRoomAgain':
        log.info({}, 'there is room on every disk again')
        break
      case 'logTrouble':
        log.warn({ err: effect.error }, troubles[effect.trouble])
        break
      case 'logGone':
        log.info(goneFields(effect.run), effect.run.purge ? 'jobs purged' : 'jobs expired')
        break
      case 'logClock': {
        const { doubt, latestEnd } = effect
        const fields = {
          reason: doubt,
          ...(latestEnd !== undefined && { latestEnd: iso(latestEnd) }),
        }
        if (doubt) log.warn(fields, doubts[doubt])
        else log.info(fields, 'the clock is believed again; jobs expire by age')
        break
      }
      case 'logSweepFailed':
        log.warn({ err: effect.error }, 'what is over its time could not be removed')
        break
      default:
        effect satisfies never
    }
  }
}

const troubles: Record<Trouble, string> = {
  measuring: 'the free space could not be found out',
  backup: 'the database could not be backed up; it is tried again in an hour',
  reserve: 'the reserve for a full disk could not be made',
}

const doubts: Record<Doubt, string> = {
  gap: 'the service was last seen to run more than an hour ago, or the clock was set; for 24 hours nothing expires by age',
  behind: 'the clock is behind the last run of the service; for 24 hours nothing expires by age',
  jumped: 'the clock was set while the service ran; for 24 hours nothing expires by age',
  all_due: 'by this clock every job is over its time; for 24 hours nothing expires by age',
}

function goneFields({ tally, selection, purge }: Run) {
  const { oldest, newest, ...sums } = tally
  return {
    ...sums,
    ...(oldest && { oldest: iso(oldest) }),
    ...(newest && { newest: iso(newest) }),
    selection,
    ...(purge && { by: purge.by, ...causeOf(purge) }),
  }
}

const diskFields = ({ path, freeBytes, freeFiles }: Disk) => ({
  path,
  freeMb: inMib(freeBytes),
  ...(freeFiles !== undefined && { freeFiles }),
})

const inMib = (bytes: number): number => Math.floor(bytes / 1024 ** 2)

const iso = (at: number): string => new Date(at).toISOString()
