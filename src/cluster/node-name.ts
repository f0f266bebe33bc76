import { createHash } from 'node:crypto'

export { NodeName } from '../domain/node.ts'

/** Channel that wakes a node for its mail: a hash, since a channel has 63 bytes and the name may have as many. */
export const channelOf = (node: string): string =>
  `wan_mail_${createHash('sha256').update(node).digest('hex').slice(0, 32)}`
