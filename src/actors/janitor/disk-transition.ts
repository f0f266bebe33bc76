import { type Disk, shortageOf } from '../../domain/disk.ts'
import { hourMs } from '../../domain/time.ts'
import type { Step } from '../actor.ts'
import type { Moment } from './clock-rules.ts'
import type { DiskEffect, DiskNews, DiskState } from './disk-protocol.ts'

export type DiskStep = Step<DiskState, DiskEffect>

export const initialDiskState: DiskState = {
  blind: false,
  backingUp: false,
  backUpAgainAtUptimeMs: 0,
}

const backUpAgainMs = hourMs

/** Less than a day, so that no day is left out. */
const minBackUpGapMs = 20 * hourMs

/** `isClockRight`: what is old by the clock may be deleted. Absent: the clock is yet to be judged. */
export type DiskMoment = Moment & Readonly<{ isClockRight?: boolean }>

/** Every rule of room and backups, with no disk in sight. */
export function guardDisks(
  minFreeBytes: number,
  state: DiskState,
  message: DiskNews,
  now: DiskMoment,
): DiskStep {
  switch (message.type) {
    case 'checkDue':
      return [state, [{ do: 'measure' }]]
    case 'measured':
      return measured(minFreeBytes, state, message.disks, now)
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
    case 'backedUp': {
      const backUpAgainAtUptimeMs = now.uptimeMs + minBackUpGapMs
      return [{ ...state, backingUp: false, backedUpOn: message.day, backUpAgainAtUptimeMs }, []]
    }
    case 'backupFailed': {
      const { error } = message
      return [
        { ...state, backingUp: false, backUpAgainAtUptimeMs: now.uptimeMs + backUpAgainMs },
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
  { at, uptimeMs, isClockRight }: DiskMoment,
): DiskStep {
  const short = disks.filter((disk) => shortageOf(disk, minFreeBytes) !== undefined)
  const [shortage] = short.map((disk) => shortageOf(disk, minFreeBytes))
  const hasRoom = shortage === undefined
  const day = new Date(at).toISOString().slice(0, 10)
  const backUp =
    hasRoom &&
    isClockRight !== undefined &&
    !state.backingUp &&
    state.backedUpOn !== day &&
    uptimeMs >= state.backUpAgainAtUptimeMs
  const effects: DiskEffect[] = [
    { do: 'observeDisks', disks },
    { do: 'tellQueue', hasRoom, ...(shortage && { shortage }) },
  ]
  if (!hasRoom && state.hasRoom !== false) effects.push({ do: 'logNoRoom', disks: short })
  if (hasRoom && state.hasRoom === false) effects.push({ do: 'logRoomAgain' })
  effects.push({ do: 'restoreReserve' })
  if (backUp) effects.push({ do: 'backUp', day, mayPrune: isClockRight === true })
  return [
    { ...state, hasRoom, blind: false, backingUp: state.backingUp || backUp },
    [...effects, { do: 'checkLater' }],
  ]
}
