/** The directory of finished videos: of this machine alone, or one that all nodes of a cluster mount. */
import { createHmac, randomBytes, randomUUID } from 'node:crypto'
import { link, open, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '../../domain/errors.ts'
import { readRegularFile } from './regular-file.ts'

/** `id`: that of the directory. `home`: random id of this node's data directory. */
export type SharedResults = Readonly<{ id: string; home: string }>

export type ResultsDirectory = Readonly<{
  path: string
  /** Begins the names of unfinished files of this node. */
  unfinishedPrefix: string
  /** Rejects when the directory is not there, as when its file system is not mounted. */
  check(): Promise<void>
}>

/** Hidden, and no name that a client can ask for: files with this prefix are not served. */
export const unfinishedPrefix = '.unfinished.'

/** Contains the id of a shared directory, so that a node notices that it has mounted something else. */
export const markerName = '.wan-cluster'

const maxMarkerBytes = 1_000

/** Without `shared` the directory belongs to this machine alone. */
export const resultsDirectory = (path: string, shared?: SharedResults): ResultsDirectory => ({
  path,
  unfinishedPrefix: shared ? `${unfinishedPrefix}${shared.home}.` : unfinishedPrefix,
  async check() {
    if (!shared) await stat(path)
    else await requireMarker(path, shared.id)
  },
})

async function requireMarker(resultsDir: string, id: string): Promise<void> {
  const marker = await readMarker(resultsDir)
  // To conversions and clients, this is a file system that is away.
  if (marker !== id) throw Object.assign(new Error(notShared(resultsDir, id)), { code: 'ENOTCONN' })
}

/** Begins the ids of the directories of one cluster. Another database has another secret. */
const clusterOf = (secret: string): string =>
  createHmac('sha256', secret).update('wan-supervisor: shared results').digest('hex').slice(0, 16)

/** An id for a directory that a cluster begins to share. */
export const newResultsId = (secret: string): string =>
  `${clusterOf(secret)}-${randomBytes(8).toString('hex')}`

/** The id of a directory; undefined: it has none. */
export async function readMarker(resultsDir: string): Promise<string | undefined> {
  const content = await readRegularFile(join(resultsDir, markerName), maxMarkerBytes)
  return content?.toString().trim()
}

/** Gives a directory an id if it has none. By a link, so that the file is there as a whole or not at all. */
export async function writeMarker(resultsDir: string, id: string): Promise<void> {
  const unfinished = join(resultsDir, `${markerName}.${randomUUID()}`)
  try {
    const file = await open(unfinished, 'wx', 0o644)
    try {
      await file.writeFile(`${id}\n`)
      await file.sync()
    } finally {
      await file.close()
    }
    await link(unfinished, join(resultsDir, markerName))
  } catch (error) {
    // Another node was first.
    if ((error as { code?: string }).code === 'EEXIST') return
    throw new Error(
      `RESULTS_DIR ${resultsDir} cannot be shared: ${messageOf(error)}. It must be writable, and its file system must ` +
        'have hard links.',
      { cause: error },
    )
  } finally {
    await rm(unfinished, { force: true })
  }
}

/** Why a node must not start with its directory of results; undefined: it may. */
export function refuseResults({
  resultsDir,
  isShared,
  recorded,
  marker,
  secret,
}: Readonly<{
  resultsDir: string
  /** `RESULTS_SHARED` of this node. */
  isShared: boolean
  /** Id of the directory that the nodes of the cluster share; undefined: each has one of its own. */
  recorded: string | undefined
  marker: string | undefined
  /** That of the cluster. */
  secret: string
}>): string | undefined {
  if (!isShared) return recorded === undefined ? undefined : sharedByOthers
  if (marker !== undefined && !marker.startsWith(`${clusterOf(secret)}-`)) {
    return (
      `RESULTS_DIR ${resultsDir} belongs to the cluster of another database, as its file ${markerName} says. Set ` +
      'RESULTS_DIR to the directory of this cluster. If the other cluster does not exist any more, delete that file.'
    )
  }
  return recorded === undefined || marker === recorded ? undefined : notShared(resultsDir, recorded)
}

const notShared = (resultsDir: string, id: string): string =>
  `RESULTS_DIR ${resultsDir} is not the directory that this cluster shares: its file ${markerName} is missing or has ` +
  'another id. Check that its file system is mounted, and that RESULTS_DIR leads to the same directory on all nodes. If ' +
  `the videos were moved here on purpose, run: echo ${id} > ${join(resultsDir, markerName)}`

export const notThere = (resultsDir: string): string =>
  `RESULTS_DIR ${resultsDir} does not exist. With RESULTS_SHARED=1 the service does not create it: mount the file system ` +
  'that all nodes share, and create the directory there.'

const sharedByOthers =
  'The nodes of this cluster share one directory of results, and RESULTS_SHARED is not set here. Set RESULTS_SHARED=1, ' +
  'and RESULTS_DIR to that directory. To end the sharing: docs/cluster.md, "A shared directory".'
