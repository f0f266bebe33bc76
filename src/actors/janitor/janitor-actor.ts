import type { Hold } from '../../domain/hold.ts'
import type { GpuId } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import type { Observe } from '../../domain/observation.ts'
import { wallNow } from '../../domain/time.ts'
import {
  type ActorRef,
  type AnswerEffect,
  actorOf,
  ask,
  type Behaviour,
  pipe,
  tell,
  tellAskerItFailed,
  tellLater,
} from '../actor.ts'
import type { ArchiveMessage } from '../archive/archive-protocol.ts'
import type { QueueMessage } from '../queue/queue-protocol.ts'
import { createJanitorLog, isLogEffect, type LogEffect } from './janitor-log.ts'
import type { Housekeeping, RetentionStore } from './janitor-ports.ts'
import type { JanitorEffect, JanitorMessage, JanitorState } from './janitor-protocol.ts'
import { startJanitor, transition } from './janitor-transition.ts'
import type { RetentionEffect } from './retention-protocol.ts'
import type { RetentionLimits } from './retention-rules.ts'

export type JanitorActorOptions = Readonly<{
  housekeeping: Housekeeping
  queue: ActorRef<QueueMessage>
  /** With less than that on any disk nothing is taken or started; 0: as long as there is any. */
  minFreeBytes: number
  /** Absent: it looks after the disks of a machine, and another one after what has been kept for long enough. */
  retention?: RetentionDuty
  /** False: it does not look after disks. */
  watchesDisks?: boolean
  observe: Observe
  log: Logger
  everyMs?: number
  /** A counter that nobody can set. One that goes on while the machine sleeps sees no step then. */
  uptime?: () => number
}>

export type RetentionDuty = Readonly<{
  store: RetentionStore
  archive: ActorRef<ArchiveMessage>
  limits: RetentionLimits
  /** GPUs whose machines are away, with all videos that were made on them. */
  away(): readonly GpuId[]
  /** In force since the start of the service. */
  hold?: Hold
}>

/** Limits of a janitor that retains nothing. */
const unlimited: RetentionLimits = { retentionMs: 0, maxResultBytes: 0, tombstoneMs: 0 }

/** Much longer than a few files take to be removed. */
const expireMs = 120_000

/** Looks after disks and backups, and after what has been kept for long enough. */
export function janitorBehaviour({
  housekeeping,
  queue,
  minFreeBytes,
  retention,
  watchesDisks = true,
  observe,
  log,
  everyMs = 5_000,
  uptime = () => performance.now(),
}: JanitorActorOptions): Behaviour<JanitorState, JanitorMessage> {
  const writeLog = createJanitorLog(log, minFreeBytes)

  return actorOf<JanitorState, JanitorMessage, JanitorEffect>({
    initial: startJanitor({ watchesDisks, retains: retention !== undefined }, retention?.hold),
    transition: (state, message) =>
      transition({ minFreeBytes, retention: retention?.limits ?? unlimited }, state, message, {
        at: wallNow(),
        uptimeMs: uptime(),
      }),
    perform,
    terminate({ retention: { runs } }) {
      for (const { purge } of runs) tellAskerItFailed(purge, 'the janitor ended before it was done')
    },
  })

  function perform(
    effect: Exclude<JanitorEffect, AnswerEffect>,
    self: ActorRef<JanitorMessage>,
  ): void {
    if (isLogEffect(effect)) {
      writeLog(effect)
      return
    }
    switch (effect.do) {
      case 'measure':
        pipe(
          self,
          housekeeping.measure(),
          (disks) => ({ type: 'measured', disks }),
          (error) => ({ type: 'measuringFailed', error }),
        )
        break
      case 'observeDisks':
        observe({ saw: 'disksMeasured', disks: effect.disks })
        break
      case 'checkLater':
        tellLater(self, everyMs, { type: 'checkDue' })
        break
      case 'tellQueue': {
        const { do: _, ...room } = effect
        tell(queue, { type: 'roomChecked', ...room })
        break
      }
      case 'restoreReserve':
        pipe(self, housekeeping.restoreReserve(), nothing, (error) => ({
          type: 'reserveFailed',
          error,
        }))
        break
      case 'backUp': {
        const { day, mayPrune } = effect
        pipe(
          self,
          housekeeping.backUp(day, mayPrune),
          () => ({ type: 'backedUp', day }),
          (error) => ({ type: 'backupFailed', error }),
        )
        break
      }
      default:
        if (retention) performRetention(effect, retention, self)
    }
  }

  function performRetention(
    effect: Exclude<RetentionEffect, AnswerEffect | LogEffect>,
    { store, archive, away }: RetentionDuty,
    self: ActorRef<JanitorMessage>,
  ): void {
    switch (effect.do) {
      case 'sweepLater':
        tellLater(self, everyMs, { type: 'sweepDue' })
        break
      case 'readLatestEnd':
        pipe(
          self,
          store.latestEnd(),
          (latestEnd) => ({ type: 'latestEndRead', latestEnd }),
          sweepFailed,
        )
        break
      case 'noteClock':
        pipe(self, store.noteClock(effect.hold), nothing, sweepFailed)
        break
      case 'observeHold':
        observe({ saw: 'deletionsJudged', hold: effect.hold })
        break
      case 'weigh':
        pipe(self, store.videoBytes(away()), (bytes) => ({ type: 'weighed', bytes }), stepFailed)
        break
      case 'readPage': {
        const page = store.finished({ ...effect.filter, away: away() })
        pipe(self, page, (jobs) => ({ type: 'pageRead', jobs }), stepFailed)
        break
      }
      case 'expire': {
        const asked = ask(archive, { type: 'expire', jobIds: effect.jobIds }, expireMs)
        pipe(self, asked, (answer) => ({ type: 'expired', ...answer }), stepFailed)
        break
      }
      case 'forgetTombstones':
        tell(archive, { type: 'forgetTombstones', before: effect.before })
        break
      case 'removeLeftOvers':
        pipe(self, housekeeping.removeLeftOvers(effect.before), nothing, sweepFailed)
        break
      default:
        effect satisfies never
    }
  }
}

const nothing = () => undefined

const sweepFailed = (error: unknown) => ({ type: 'sweepFailed', error }) as const

/** Ends the current run. */
const stepFailed = (error: unknown) => ({ type: 'stepFailed', error }) as const
