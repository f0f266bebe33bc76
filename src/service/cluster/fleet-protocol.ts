import type { NodeName } from '../../domain/node.ts'

/** News from a node to the register of the leader. */
export type FleetMessage = Readonly<
  /**
   * It is there, and its actors wait to be asked who they are. Repeated until the queue welcomes it: `turn` is the same
   * then, and differs once letters were lost or another node leads. Nodes of earlier versions do not say.
   */
  | { type: 'knocked'; node: NodeName; session: number; turn?: number }
  /** It takes no more jobs, ends those that it has, and stops. */
  | { type: 'leaving'; node: NodeName; session: number }
>
