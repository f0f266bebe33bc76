import type { Logger } from '../../log.ts'
import type { Observe } from '../../observation.ts'
import { type ActorRef, type Behaviour, tell } from '../actor.ts'
import type { Housekeeping } from '../ports.ts'
import type { QueueMessage } from '../queue/queue-protocol.ts'
import type { JanitorEffect, JanitorMessage, JanitorState, Trouble } from './janitor-protocol.ts'
import { initialJanitorState, transition } from './janitor-transition.ts'

export type JanitorActorOptions = Readonly<{
  housekeeping: Housekeeping
  queue: ActorRef<QueueMessage>
  /** With less than that on any disk nothing is taken or begun; 0: never mind. */
  minFreeBytes: number
  observe: Observe
  log: Logger
  everyMs?: number
}>

const mib = 1024 ** 2

const troubles: Record<Trouble, string> = {
  measuring: 'the free space could not be found out',
  backup: 'the database could not be backed up; it is tried again in an hour',
  reserve: 'the reserve for a full disk could not be made',
}

/** Keeps an eye on the disks, tells the queue whether there is room, and backs up the database. */
export function janitorBehaviour({
  housekeeping,
  queue,
  minFreeBytes,
  observe,
  log,
  everyMs = 5_000,
}: JanitorActorOptions): Behaviour<JanitorState, JanitorMessage> {
  return {
    init(self) {
      tell(self, { type: 'checkDue' })
      return initialJanitorState
    },

    receive(state, message, self) {
      const [next, effects] = transition(minFreeBytes, state, message, Date.now())
      for (const effect of effects) perform(effect, self)
      return next
    },
  }

  function perform(effect: JanitorEffect, self: ActorRef<JanitorMessage>): void {
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
