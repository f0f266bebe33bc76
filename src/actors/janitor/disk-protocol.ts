import type { Disk, Shortage } from '../../domain/disk.ts'

/** How what it has begun went, and that it is time to look again. */
export type DiskNews = Readonly<
  | { type: 'checkDue' }
  | { type: 'measured'; disks: readonly Disk[] }
  | { type: 'measuringFailed'; error: unknown }
  | { type: 'backedUp'; day: string }
  | { type: 'backupFailed'; error: unknown }
  | { type: 'reserveFailed'; error: unknown }
>

export type DiskState = Readonly<{
  /** What the queue was told last; unknown before the first look. */
  hasRoom?: boolean
  /** The last look failed, and that has been said. */
  blind: boolean
  backingUp: boolean
  /** The last day of which there is a backup. */
  backedUpOn?: string
  /** Not at every look after a failure, and once a day however often the clock is set. */
  backUpAgainAtUptimeMs: number
}>

export type DiskEffect = Readonly<
  | { do: 'measure' }
  | { do: 'observeDisks'; disks: readonly Disk[] }
  | { do: 'checkLater' }
  | { do: 'tellQueue'; hasRoom: boolean; shortage?: Shortage }
  | { do: 'restoreReserve' }
  | { do: 'backUp'; day: string; mayPrune: boolean }
  | { do: 'logNoRoom'; disks: readonly Disk[] }
  | { do: 'logRoomAgain' }
  | { do: 'logTrouble'; trouble: Trouble; error: unknown }
>

export type Trouble = 'measuring' | 'backup' | 'reserve'
