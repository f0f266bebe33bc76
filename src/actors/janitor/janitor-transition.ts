import type { Hold } from '../../domain/hold.ts'
import type { Step } from '../actor.ts'
import type { Moment } from './clock-rules.ts'
import { guardDisks, initialDiskState } from './disk-transition.ts'
import type { JanitorEffect, JanitorMessage, JanitorState } from './janitor-protocol.ts'
import type { RetentionMessage } from './retention-protocol.ts'
import type { RetentionLimits } from './retention-rules.ts'
import { initialRetentionState, retain } from './retention-transition.ts'

export type JanitorStep = Step<JanitorState, JanitorEffect>

export type JanitorLimits = Readonly<{ minFreeBytes: number; retention: RetentionLimits }>

export type JanitorDuties = Readonly<{ watchesDisks: boolean; retains: boolean }>

/** The first check of the disks and the first sweep; each schedules the next. */
export const startJanitor = (
  { watchesDisks, retains }: JanitorDuties,
  found?: Hold,
): JanitorStep => [
  {
    disks: initialDiskState,
    retention: { ...initialRetentionState, clock: found ? { found } : {} },
  },
  [
    ...(watchesDisks ? [{ do: 'measure' } as const] : []),
    ...(retains ? [{ do: 'readLatestEnd' } as const, { do: 'sweepLater' } as const] : []),
  ],
]

/** Hands each message to the rules that it concerns. */
export function transition(
  limits: JanitorLimits,
  state: JanitorState,
  message: JanitorMessage,
  now: Moment,
): JanitorStep {
  if (isOfRetention(message)) {
    const [retention, effects] = retain(limits.retention, state.retention, message, now)
    return [{ ...state, retention }, effects]
  }
  const { clock } = state.retention
  const [disks, effects] = guardDisks(limits.minFreeBytes, state.disks, message, {
    ...now,
    ...(clock.origin !== undefined && { isClockRight: clock.doubt === undefined }),
  })
  return [{ ...state, disks }, effects]
}

const ofRetention: Record<RetentionMessage['type'], true> = {
  sweepDue: true,
  latestEndRead: true,
  sweepFailed: true,
  purge: true,
  weighed: true,
  pageRead: true,
  expired: true,
  stepFailed: true,
}

const isOfRetention = (message: JanitorMessage): message is RetentionMessage =>
  message.type in ofRetention
