/** Files of jobs on the machines that made them. */
import { ask, tell } from '../../actors/actor-ref.ts'
import type { JobFiles, VideoFiles } from '../../actors/archive/archive-ports.ts'
import type { Housekeeping } from '../../actors/janitor/janitor-ports.ts'
import type { NodeCommand } from '../../actors/node/node-protocol.ts'
import type { Fleet } from '../../actors/queue/fleet.ts'
import type { WorkFiles } from '../../actors/queue/queue-ports.ts'
import { RefusalError } from '../../domain/errors.ts'
import type { GpuId } from '../../domain/job.ts'

/** A file is read once to be recognised, which takes long on a slow disk. */
const withinMs = 30_000

export type RemoteFiles = VideoFiles &
  JobFiles &
  Pick<WorkFiles, 'discard'> &
  Pick<Housekeeping, 'removeLeftOvers'>

export function createRemoteFiles(
  fleet: Fleet,
  { isInUse }: Pick<VideoFiles, 'isInUse'>,
): RemoteFiles {
  const nodeWith = (gpu: GpuId) => {
    const name = fleet.nodeOf(gpu)
    const actors = name && fleet.at(name)
    if (actors) return actors.node
    throw new RefusalError(
      'node_away',
      `The file is on the machine "${name ?? 'unknown'}", which is not running now.`,
    )
  }
  const tellAll = (
    message: NodeCommand & { type: 'discardWork' | 'forgetJob' | 'removeLeftOvers' },
  ) => {
    for (const { node } of fleet.present()) tell(node, message)
  }
  return {
    // All downloads go through this node.
    isInUse,
    find: async (video) => ask(nodeWith(video.gpu), { type: 'findVideo', video }, withinMs),
    remove: async (video) => ask(nodeWith(video.gpu), { type: 'removeVideo', video }, withinMs),

    async arePresent(files) {
      const byNode = Map.groupBy(files, ({ gpu }) => fleet.nodeOf(gpu))
      const found = new Map<(typeof files)[number], boolean>()
      const looks = [...byNode].map(async ([name, own]) => {
        const actors = name && fleet.at(name)
        if (!actors) return
        const present = await ask(actors.node, { type: 'findPresent', files: own }, withinMs)
        for (const [index, file] of own.entries()) {
          const isPresent = present[index]
          if (isPresent !== undefined) found.set(file, isPresent)
        }
      })
      // A node that does not answer says nothing of its files.
      await Promise.allSettled(looks)
      return files.map((file) => found.get(file))
    },

    // Attempts on several nodes may have left some. A node that is away tidies up when it starts.
    async discard(jobId) {
      tellAll({ type: 'discardWork', jobId })
    },
    async forget(jobId) {
      tellAll({ type: 'forgetJob', jobId })
    },
    async removeLeftOvers(before) {
      tellAll({ type: 'removeLeftOvers', before })
    },
  }
}
