/** Whether a node keeps its videos where the other nodes of its cluster do. */
import { existsSync } from 'node:fs'
import type { Config } from '../../config/config.ts'
import { messageOf } from '../../domain/errors.ts'
import { notThere, readMarker, refuseResults } from '../disk/results-directory.ts'
import { inspectSharing } from '../store/postgres/inspect-sharing.ts'
import { type Finding, finding } from './finding.ts'

/** Nothing where no node shares its directory. */
export async function checkSharing({
  data: { resultsDir },
  databaseUrl,
  resultsShared: isShared,
}: Config): Promise<Finding[]> {
  if (databaseUrl === undefined) return []
  if (isShared && !existsSync(resultsDir)) return [fault(notThere(resultsDir))]
  try {
    const { secret = '', results } = (await inspectSharing(databaseUrl)) ?? {}
    const recorded = results ?? undefined
    if (!isShared && recorded === undefined) return []
    const marker = isShared ? await readMarker(resultsDir) : undefined
    const why = refuseResults({ resultsDir, isShared, recorded, marker, secret })
    return [why === undefined ? finding('results', 'ok', resultsDir) : fault(why)]
  } catch (error) {
    return [fault(messageOf(error))]
  }
}

const fault = (why: string): Finding => finding('results', 'fault', why)
