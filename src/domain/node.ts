import * as v from 'valibot'

/** The longest label of a host name. Names are in URLs, in logs and in metrics. */
const maxNodeName = 63

/** Name of a machine of the cluster. Names of hosts are the same in capitals, so names of nodes are too. */
export const NodeName = v.pipe(
  v.string(),
  v.toLowerCase(),
  v.regex(
    new RegExp(`^[a-z0-9](?:[a-z0-9._-]{0,${maxNodeName - 2}}[a-z0-9])?$`),
    `must be 1 to ${maxNodeName} letters, digits, ".", "_" and "-", the first and the last a letter or a digit, for example gpu-7`,
  ),
  v.brand('NodeName'),
)
export type NodeName = v.InferOutput<typeof NodeName>

/** The only node of a service that is in no cluster. */
export const soleNode: NodeName = v.parse(NodeName, 'local')

export const nodeRoles = ['leader', 'follower'] as const

/** `left`: it was stopped, and its generations continue. `lost`: it is out of reach. */
export const nodeStates = ['present', 'left', 'lost'] as const

/** A node as the cluster knows it. */
export type Member = Readonly<{
  name: NodeName
  /** URL of its API. */
  url: string
  version: string
  role: (typeof nodeRoles)[number]
  state: (typeof nodeStates)[number]
}>
