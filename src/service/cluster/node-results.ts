/** The directory of results of a node: one of its own, or the one that all nodes of its cluster share. */
import type { Connection } from '../../cluster/database.ts'
import { findRunningNode } from '../../cluster/running-nodes.ts'
import type { Config } from '../../config/config.ts'
import type { Logger } from '../../domain/log.ts'
import {
  newResultsId,
  type ResultsDirectory,
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
  const { resultsDir } = options.config.data
  const before = await requireShared(options)
  if (!options.config.resultsShared) return resultsDirectory(resultsDir)
  if (before === undefined) await share(options)
  // Nodes that start at once may have begun to share different directories. The first one is recorded.
  const id = before ?? (await requireShared(options))
  if (id === undefined)
    throw new Error('The directory of results was recorded, and is not any more.')
  return resultsDirectory(resultsDir, { id, home: options.me.home })
}

async function share({ config, connection, me, secret, log }: NodeResultsOptions): Promise<void> {
  const { resultsDir } = config.data
  await requireAlone({ config, connection, me })
  await writeMarker(resultsDir, newResultsId(secret))
  const { count } = await connection.query(
    'update cluster_key set results = $1 where results is null',
    [await readMarker(resultsDir)],
  )
  if (count > 0)
    log.info({ resultsDir }, 'the nodes of this cluster share one directory of results')
}

/** The id of the directory that all nodes share; undefined: there is none. */
async function requireShared(options: LookOptions): Promise<string | undefined> {
  const { recorded, refusal } = await look(options)
  if (refusal !== undefined) throw new Error(refusal)
  return recorded
}

async function requireAlone({
  config,
  connection,
  me,
}: Pick<NodeResultsOptions, 'config' | 'connection' | 'me'>): Promise<void> {
  const other = await findRunningNode(connection, me.name, { lostMs: config.node.lostMs })
  // It may have been the first one to share.
  if (other && (await readRecorded(connection)) === undefined) throw notAlone(other)
}

/** Rejects as `openNodeResults` does, and changes nothing. */
export async function inspectResults(options: Omit<NodeResultsOptions, 'log'>): Promise<void> {
  const id = await requireShared(options)
  if (options.config.resultsShared && id === undefined) await requireAlone(options)
}

/** Why this node does not keep its videos where the others do; undefined: it does. */
export const whyNotShared = async (options: LookOptions): Promise<string | undefined> =>
  (await look(options)).refusal

type LookOptions = Pick<NodeResultsOptions, 'config' | 'connection' | 'secret'>

/** The id that is recorded, and why this node must not start with it. Another node may record one at any moment. */
async function look({
  config,
  connection,
  secret,
}: LookOptions): Promise<Readonly<{ recorded: string | undefined; refusal: string | undefined }>> {
  const { data, resultsShared: isShared } = config
  const { resultsDir } = data
  const recorded = await readRecorded(connection)
  const marker = isShared ? await readMarker(resultsDir) : undefined
  return { recorded, refusal: refuseResults({ resultsDir, isShared, recorded, marker, secret }) }
}

async function readRecorded({ query }: Connection): Promise<string | undefined> {
  const { rows } = await query<{ results: string | null }>('select results from cluster_key')
  return rows[0]?.results ?? undefined
}

const notAlone = ({ name, url }: Readonly<{ name: string; url: string }>): Error =>
  new Error(
    `RESULTS_SHARED=1 is set here, and node "${name}" at ${url} runs without it. Stop all nodes, copy the videos of each ` +
      'into the shared directory, and set RESULTS_SHARED=1 on all of them: docs/cluster.md, "A shared directory".',
  )
