/** The directory of results of a node: one of its own, or the one that all nodes of its cluster share. */
import type { Connection } from '../../cluster/database.ts'
import { findRunningNode } from '../../cluster/running-nodes.ts'
import type { Config } from '../../config/config.ts'
import type { Logger } from '../../domain/log.ts'
import {
  clusterIdOf,
  type ResultsDirectory,
  type ResultsMode,
  readMarker,
  refuseResults,
  resultsDirectory,
  writeMarker,
} from '../../infra/disk/results-directory.ts'

export type NodeResultsOptions = Readonly<{
  config: Config
  connection: Connection
  me: Readonly<{ name: string; home: string }>
  /** That of the cluster. */
  secret: string
  log: Logger
}>

/**
 * The first node that starts with `RESULTS_SHARED=1` while no other one runs has the cluster share its directory. Rejects
 * with a message for the operator when this node does not keep its videos where the others do. May be repeated.
 */
export async function openNodeResults(options: NodeResultsOptions): Promise<ResultsDirectory> {
  const { config, connection, me, secret, log } = options
  const { resultsDir } = config.data
  const id = clusterIdOf(secret)
  const refusal = await whyNotShared(options)
  if (refusal !== undefined) throw new Error(refusal)
  if (!config.resultsShared) return resultsDirectory(resultsDir)
  if ((await readMode(connection)) === 'own') {
    const { lostMs } = config.node
    const other = await findRunningNode(connection, me.name, { lostMs })
    // It may have been the first one to share.
    if (other && (await readMode(connection)) === 'own') throw notAlone(other)
    await writeMarker(resultsDir, id)
    await connection.query(`update cluster_key set results = 'shared'`)
    log.info({ resultsDir }, 'the nodes of this cluster share one directory of results')
  }
  return resultsDirectory(resultsDir, { id, home: me.home })
}

/** Why this node does not keep its videos where the others do; undefined: it does. */
export async function whyNotShared({
  config,
  connection,
  secret,
}: Pick<NodeResultsOptions, 'config' | 'connection' | 'secret'>): Promise<string | undefined> {
  const { data, resultsShared: isShared } = config
  const { resultsDir } = data
  const mode = await readMode(connection)
  const marker = isShared ? await readMarker(resultsDir) : undefined
  return refuseResults({ resultsDir, isShared, mode, marker, id: clusterIdOf(secret) })
}

async function readMode({ query }: Connection): Promise<ResultsMode> {
  const { rows } = await query<{ results: ResultsMode }>('select results from cluster_key')
  return rows[0]?.results ?? 'own'
}

const notAlone = ({ name, url }: Readonly<{ name: string; url: string }>): Error =>
  new Error(
    `RESULTS_SHARED=1 is set here, and node "${name}" at ${url} runs without it. Stop all nodes, copy the videos of each ` +
      'into the shared directory, and set RESULTS_SHARED=1 on all of them: docs/cluster.md, "A shared directory".',
  )
