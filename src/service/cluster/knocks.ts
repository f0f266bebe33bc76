/** Knocks of nodes at the leader, and which of them are news. */
import type { NodeActors } from '../../actors/queue/fleet.ts'
import { steadyNow } from '../../domain/time.ts'
import type { FleetMessage } from './fleet-protocol.ts'

export type Knock = Extract<FleetMessage, { type: 'knocked' }>

/** A node of which the queue was told. */
export type Joined = Readonly<{
  session: number
  /** The turn of its latest knock. */
  turn: number | undefined
  /** When the queue was told of that, by the steady clock. */
  toldAt: number
  actors: NodeActors
}>

/** A welcome may take so long where many nodes join at once. To tell the queue of a knock again would begin it anew. */
const welcomeMs = 10_000

export const joinedWith = ({ session, turn }: Knock, actors: NodeActors): Joined => ({
  ...{ session, turn, actors },
  toldAt: steadyNow(),
})

export const isRepeated = (known: Joined | undefined, { session, turn }: Knock): boolean =>
  known !== undefined &&
  turn !== undefined &&
  known.session === session &&
  known.turn === turn &&
  steadyNow() - known.toldAt < welcomeMs
