import type { Disk } from '../../domain/disk.ts'
import type { Timestamp } from '../../domain/job.ts'
import type { Step } from '../actor.ts'
import type { DiskEffect, DiskNews, DiskState } from './disk-protocol.ts'

export type DiskStep = Step<DiskState, DiskEffect>

export const initialDiskState: DiskState = {
  blind: false,
  backingUp: false,
  backUpAgainAt: 0,
}

const backUpAgainMs = 60 * 60_000

/** Every rule of room and backups, with no disk in sight. */
export function guardDisks(
  minFreeBytes: number,
  state: DiskState,
  message: DiskNews,
  at: Timestamp,
): DiskStep {
  switch (message.type) {
    case 'checkDue':
      return [state, [{ do: 'measure' }]]
    case 'measured':
      return measured(minFreeBytes, state, message.disks, at)
    // A disk that does not even tell is no reason to say anything about room.
    case 'measuringFailed': {
      const { error } = message
      const said = state.blind
      return [
        { ...state, blind: true },
        [
          ...(said ? [] : [{ do: 'logTrouble', trouble: 'measuring', error } as const]),
          { do: 'checkLater' },
        ],
      ]
    }
    case 'backedUp':
      return [{ ...state, backingUp: false, backedUpOn: message.day }, []]
    case 'backupFailed': {
      const { error } = message
      return [
        { ...state, backingUp: false, backUpAgainAt: at + backUpAgainMs },
        [{ do: 'logTrouble', trouble: 'backup', error }],
      ]
    }
    case 'reserveFailed':
      return [state, [{ do: 'logTrouble', trouble: 'reserve', error: message.error }]]
  }
}

function measured(
  minFreeBytes: number,
  state: DiskState,
  disks: readonly Disk[],
  at: Timestamp,
): DiskStep {
  const short = disks.filter(({ freeBytes }) => freeBytes < minFreeBytes)
  const hasRoom = short.length === 0
  const day = new Date(at).toISOString().slice(0, 10)
  const backUp =
    hasRoom && !state.backingUp && state.backedUpOn !== day && at >= state.backUpAgainAt
  const effects: DiskEffect[] = [
    { do: 'observeDisks', disks },
    { do: 'tellQueue', hasRoom },
  ]
  if (!hasRoom && state.hasRoom !== false) effects.push({ do: 'logNoRoom', disks: short })
  if (hasRoom && state.hasRoom === false) effects.push({ do: 'logRoomAgain' })
  effects.push({ do: 'restoreReserve' })
  if (backUp) effects.push({ do: 'backUp', day })
  return [
    { ...state, hasRoom, blind: false, backingUp: state.backingUp || backUp },
    [...effects, { do: 'checkLater' }],
  ]
}
