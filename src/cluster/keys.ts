/** Keys that all nodes share, so that each of them trusts what another one has signed. */
import { randomBytes } from 'node:crypto'
import type { Connection } from './database.ts'

export type ClusterKeys = Readonly<{
  /** Proves to a node that a request is from another node. */
  secret: string
  /** Signs links to files. */
  linkKey: Buffer
}>

const keyBytes = 32

/**
 * The keys that the first node has chosen. `ownLinkKey`: that of this node's data directory. If this node is the first
 * one, links that it signed before remain valid.
 */
export async function readClusterKeys(
  { query }: Connection,
  ownLinkKey: Buffer = randomBytes(keyBytes),
): Promise<ClusterKeys> {
  const chosen = [randomBytes(keyBytes), ownLinkKey].map((key) => key.toString('base64url'))
  await query(
    'insert into cluster_key (secret, link_key) values ($1, $2) on conflict do nothing',
    chosen,
  )
  const { rows } = await query<{ secret: string; link_key: string }>('select * from cluster_key')
  const [row] = rows
  if (!row) throw new Error('The keys of the cluster were deleted while this node read them.')
  return { secret: row.secret, linkKey: Buffer.from(row.link_key, 'base64url') }
}
