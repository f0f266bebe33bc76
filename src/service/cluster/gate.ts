/** The way of the actors of this node to the queue, wherever that runs. */
import { type ActorRef, createPlace, deliver, tell } from '../../actors/actor-ref.ts'
import type { QueueMessage } from '../../actors/queue/queue-protocol.ts'
import type { NodeName } from '../../domain/node.ts'
import type { FleetMessage } from './fleet-protocol.ts'

/** A leader: its queue, and its register of nodes. */
export type LeaderActors = Readonly<{
  queue: ActorRef<QueueMessage>
  fleet: ActorRef<FleetMessage>
}>

export type Gate = Readonly<{
  /** Signs news with the name of this node. Closed, it takes no message, as an actor that is not running. */
  queue: ActorRef<QueueMessage>
  /** Another node leads, or the leader does not know this node any more: it knocks until it is welcomed. */
  close(leader: LeaderActors | undefined): void
  /** Letters may have been lost in either direction. */
  reopen(): void
  /** The queue knows this node. */
  welcomed(): void
  /** Nothing is left that the queue does not know. Ignored if the gate was closed since the latest welcome. */
  open(): void
  /** No more jobs are wanted. Told to each leader that welcomes this node. */
  leave(): void
  stop(): void
}>

/**
 * A leader that starts does not hear yet, and reads the nodes every second. With many nodes a new leader takes seconds to
 * welcome all, and each knock is one more letter for it: the time between two doubles.
 */
const defaultKnockMs = 1_000
const longestWait = 8

export function createGate(
  { node, session }: Readonly<{ node: NodeName; session(): number }>,
  knockMs = defaultKnockMs,
): Gate {
  const place = createPlace<QueueMessage>('queue')
  let leader: LeaderActors | undefined
  let isOpen = false
  let isWelcome = false
  let isLeaving = false
  let turn = 0
  /** In times of `knockMs`: until the next knock, and between the latest two. */
  let wait = { left: 0, latest: 0 }
  const knocking = setInterval(knockAgain, knockMs)

  return {
    queue: signing(place, node),
    close(next) {
      leader = next
      shut()
    },
    reopen: shut,
    welcomed() {
      isWelcome = true
    },
    open() {
      if (!leader || !isWelcome) return
      place.seat(leader.queue)
      isOpen = true
      if (isLeaving) tellLeaving()
    },
    leave() {
      isLeaving = true
      if (isOpen) tellLeaving()
    },
    stop() {
      clearInterval(knocking)
      leader = undefined
      place.vacate()
    },
  }

  function shut(): void {
    place.vacate()
    isOpen = false
    isWelcome = false
    turn += 1
    wait = { left: 1, latest: 1 }
    knock()
  }

  function tellLeaving(): void {
    if (leader) tell(leader.fleet, { type: 'leaving', node, session: session() })
  }

  function knockAgain(): void {
    wait = { ...wait, left: wait.left - 1 }
    if (wait.left > 0) return
    const next = Math.min(2 * wait.latest, longestWait)
    wait = { left: next, latest: next }
    knock()
  }

  function knock(): void {
    if (leader && !isOpen) tell(leader.fleet, { type: 'knocked', node, session: session(), turn })
  }
}

const signed: ReadonlySet<QueueMessage['type']> = new Set([
  'roomChecked',
  'environmentChecked',
  'templateWaits',
  'templateSettled',
  'conversionReady',
] as const)

const signing = (queue: ActorRef<QueueMessage>, node: NodeName): ActorRef<QueueMessage> => ({
  name: queue.name,
  [deliver]: (message) =>
    queue[deliver](signed.has(message.type) ? ({ ...message, node } as QueueMessage) : message),
})
