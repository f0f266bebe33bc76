import { causeOf } from '../../domain/client.ts'
import type { Logger } from '../../domain/log.ts'
import type { Observe } from '../../domain/observation.ts'
import { type ActorRef, ask, type Behaviour, tell, tellAskerItFailed } from '../actor.ts'
import type { QueueMessage } from '../queue/queue-protocol.ts'
import type { Doubt } from './clock-rules.ts'
import type { DiskEffect, Trouble } from './disk-protocol.ts'
import { initialDiskState, transition } from './disk-transition.ts'
import type { Housekeeping, RetentionStore } from './janitor-ports.ts'
import type { JanitorMessage, JanitorState } from './janitor-protocol.ts'
import type { RetentionEffect, RetentionMessage, Run } from './retention-protocol.ts'
import type { RetentionLimits } from './retention-rules.ts'
import { initialRetentionState, retain } from './retention-transition.ts'

export type JanitorActorOptions = Readonly<{
  housekeeping: Housekeeping
  retention: RetentionStore
  queue: ActorRef<QueueMessage>
  /** With less than that on any disk nothing is taken or begun; 0: never mind. */
  minFreeBytes: number
  observe: Observe
  limits: RetentionLimits
  log: Logger
  everyMs?: number
}>

const mib = 1024 ** 2

/** Much longer than a few files take to be removed. */
const expireMs = 120_000

const troubles: Record<Trouble, string> = {
  measuring: 'the free space could not be found out',
  backup: 'the database could not be backed up; it is tried again in an hour',
  reserve: 'the reserve for a full disk could not be made',
}

const doubts: Record<Doubt, string> = {
  behind: 'the clock is behind the end of a job; until it is not, nothing expires by age',
  jumped: 'the clock was set while the service ran; for 24 hours nothing expires by age',
  all_due: 'by this clock every job is over its time; for 24 hours nothing expires by age',
}

/** Looks after disks and backups, and after what has been kept for long enough. */
export function janitorBehaviour({
  housekeeping,
  retention,
  queue,
  minFreeBytes,
  observe,
  limits,
  log,
  everyMs = 5_000,
}: JanitorActorOptions): Behaviour<JanitorState, JanitorMessage> {
  return {
    init(self) {
      tell(self, { type: 'checkDue' })
      tell(self, { type: 'sweepDue' })
      return { disks: initialDiskState, retention: initialRetentionState }
    },

    receive(state, message, self) {
      const at = Date.now()
      if (isOfRetention(message)) {
        const now = { at, uptimeMs: performance.now() }
        const [next, effects] = retain(limits, state.retention, message, now)
        for (const effect of effects) clearAway(effect, self)
        return { ...state, retention: next }
      }
      const [disks, effects] = transition(minFreeBytes, state.disks, message, at)
      for (const effect of effects) perform(effect, self)
      return { ...state, disks }
    },

    terminate({ retention: { runs } }) {
      for (const { purge } of runs) tellAskerItFailed(purge, 'the janitor ended before it was done')
    },
  }

  function clearAway(effect: RetentionEffect, self: ActorRef<JanitorMessage>): void {
    const sweepFailed = (error: unknown) => tell(self, { type: 'sweepFailed', error })
    const stepFailed = (error: unknown) => tell(self, { type: 'stepFailed', error })
    switch (effect.do) {
      case 'sweepLater':
        setTimeout(() => tell(self, { type: 'sweepDue' }), everyMs).unref()
        break
      case 'readLatestEnd':
        void retention
          .latestEnd()
          .then((latestEnd) => tell(self, { type: 'latestEndRead', latestEnd }), sweepFailed)
        break
      case 'weigh':
        void retention
          .videoBytes()
          .then((bytes) => tell(self, { type: 'weighed', bytes }), stepFailed)
        break
      case 'readPage':
        void retention
          .finished(effect.filter)
          .then((jobs) => tell(self, { type: 'pageRead', jobs }), stepFailed)
        break
      case 'expire': {
        const { jobIds } = effect
        void ask(queue, { type: 'expire', jobIds }, expireMs).then(
          (answer) => tell(self, { type: 'expired', ...answer }),
          stepFailed,
        )
        break
      }
      case 'answerPurge':
        tell(effect.to, effect.answer)
        break
      case 'answerPurgeFailed':
        tellAskerItFailed({ replyTo: effect.to }, 'jobs could not be purged', effect.error)
        break
      case 'forgetTombstones':
        tell(queue, { type: 'forgetTombstones', before: effect.before })
        break
      case 'removeLeftOvers':
        housekeeping.removeLeftOvers(effect.before).catch(sweepFailed)
        break
      case 'logGone':
        logGone(effect.run)
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

  function logGone({ tally, selection, purge }: Run): void {
    const { oldest, newest, ...sums } = tally
    const ends = { ...(oldest && { oldest: iso(oldest) }), ...(newest && { newest: iso(newest) }) }
    const fields = {
      ...sums,
      ...ends,
      selection,
      ...(purge && { by: purge.by, ...causeOf(purge) }),
    }
    log.info(fields, purge ? 'jobs purged' : 'jobs expired')
  }

  function perform(effect: DiskEffect, self: ActorRef<JanitorMessage>): void {
    switch (effect.do) {
      case 'measure':
        void housekeeping.measure().then(
          (disks) => {
            observe({ saw: 'disksMeasured', disks })
            tell(self, { type: 'measured', disks })
          },
          (error: unknown) => tell(self, { type: 'measuringFailed', error }),
        )
        break
      case 'checkLater':
        setTimeout(() => tell(self, { type: 'checkDue' }), everyMs).unref()
        break
      case 'tellQueue':
        tell(queue, { type: 'roomChecked', hasRoom: effect.hasRoom })
        break
      case 'restoreReserve':
        housekeeping
          .restoreReserve()
          .catch((error: unknown) => tell(self, { type: 'reserveFailed', error }))
        break
      case 'backUp': {
        const { day } = effect
        void housekeeping.backUp(day).then(
          () => tell(self, { type: 'backedUp', day }),
          (error: unknown) => tell(self, { type: 'backupFailed', error }),
        )
        break
      }
      case 'logNoRoom':
        log.warn(
          {
            disks: effect.disks.map(({ path, freeBytes }) => ({
              path,
              freeMb: Math.floor(freeBytes / mib),
            })),
            minFreeMb: Math.floor(minFreeBytes / mib),
          },
          'a disk is short of room; no job is taken or begun until there is more',
        )
        break
      case 'logRoomAgain':
        log.info({}, 'there is room on every disk again')
        break
      case 'logTrouble':
        log.warn({ err: effect.error }, troubles[effect.trouble])
        break
      default:
        effect satisfies never
    }
  }
}

const iso = (at: number): string => new Date(at).toISOString()

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
