/** Everything that can refuse the start of a node, before it changes anything that others use. */
import type { ClusterDatabase } from '../../cluster/database.ts'
import type { ClusterNode } from '../../cluster/member-rules.ts'
import { awaitName, type NameOptions } from '../../cluster/membership.ts'
import type { Config } from '../../config/config.ts'
import { inspectSharing } from '../../infra/store/postgres/inspect-sharing.ts'
import { migratePostgres } from '../../infra/store/postgres/migrate-postgres.ts'
import { inspectPostgres, whenReachable } from '../database/postgres.ts'
import { tryAddress } from '../http-server.ts'
import { inspectResults } from './node-results.ts'

export type StartingNode = NameOptions &
  Readonly<{ config: Config; url: string; database: ClusterDatabase }>

/**
 * Brings the schema up to date when nothing refuses the start any more: nodes of an earlier version may be at work.
 * Resolves with the row of this node's name; undefined: there is none. Rejects with a message for the operator.
 */
export async function prepareStart(starting: StartingNode): Promise<ClusterNode | undefined> {
  const { config, url, database, me, log } = starting
  const patiently = <Result>(work: () => Promise<Result>) => whenReachable(work, url, log)
  const { hasNodes } = await inspectPostgres(url, config, log)
  await tryAddress(config)
  const sharing = await patiently(() => inspectSharing(url))
  if (sharing) {
    const { secret } = sharing
    await patiently(() => inspectResults({ config, connection: database.mail, me, secret }))
  }
  const place = hasNodes ? await patiently(() => awaitName(starting)) : undefined
  await patiently(() => migratePostgres(url))
  return place
}
