import type { NodeName } from '../../domain/node.ts'

/** News from a node to the register of the leader. */
export type FleetMessage = Readonly<
  /** It is there, and its actors wait to be asked who they are. Repeated until the queue welcomes it. */
  | { type: 'knocked'; node: NodeName; session: number }
  /** It takes no more jobs, ends those that it has, and stops. */
  | { type: 'leaving'; node: NodeName; session: number }
>
