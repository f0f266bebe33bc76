import { createHash } from 'node:crypto'
import * as v from 'valibot'

/** The longest label of a host name. Names are in URLs, in logs and in metrics. */
const maxLength = 63

/** Names of hosts are the same in capitals, so names of nodes are too. */
export const NodeName = v.pipe(
  v.string(),
  v.toLowerCase(),
  v.regex(
    new RegExp(`^[a-z0-9](?:[a-z0-9._-]{0,${maxLength - 2}}[a-z0-9])?$`),
    `must be 1 to ${maxLength} letters, digits, ".", "_" and "-", the first and the last a letter or a digit, for example gpu-7`,
  ),
)

/** Channel that wakes a node for its mail: a hash, since a channel has 63 bytes and the name may have as many. */
export const channelOf = (node: string): string =>
  `wan_mail_${createHash('sha256').update(node).digest('hex').slice(0, 32)}`
