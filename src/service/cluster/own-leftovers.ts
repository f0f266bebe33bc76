/** Videos on this node that were published and never recorded: their jobs were given to other nodes. */
import type { Config } from '../../config/config.ts'
import type { GpuId } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import type { ResultsDirectory } from '../../infra/disk/results-directory.ts'
import type { NodeReads } from '../../infra/store/postgres/open-node-reads.ts'
import { tidyResults } from './tidy-results.ts'

export type OwnLeftoversOptions = Readonly<{
  config: Pick<Config, 'resultsShared'>
  results: ResultsDirectory
  reads: Pick<NodeReads, 'findEvenDeleted' | 'recordedNames'>
  /** All GPUs that this node has or had. */
  gpus: readonly GpuId[]
  log: Logger
}>

export function createOwnLeftovers({ config, results, reads, gpus, log }: OwnLeftoversOptions) {
  let last: Promise<void> = Promise.resolve()

  return {
    /** In the background. The leader looks after a directory that all nodes share. */
    remove() {
      if (!config.resultsShared) last = last.then(removeAll)
    },
  }

  function removeAll(): Promise<void> {
    const options = {
      results,
      find: reads.findEvenDeleted,
      recorded: (filenames: readonly string[]) => reads.recordedNames(filenames, gpus),
      // This process alone publishes here, and no attempt that runs is a leftover.
      minAgeMs: 0,
      onlyVideos: true,
    }
    return tidyResults(options, log)
  }
}
