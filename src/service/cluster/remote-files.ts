/** Files of jobs on the machines that made them. */
import { ActorFailedError, ask, NoAnswerError, tell } from '../../actors/actor-ref.ts'
import {
  type JobFiles,
  UnconfirmedRemovalError,
  type VideoFiles,
} from '../../actors/archive/archive-ports.ts'
import type { Housekeeping } from '../../actors/janitor/janitor-ports.ts'
import type { NodeCommand } from '../../actors/node/node-protocol.ts'
import type { Fleet } from '../../actors/queue/fleet.ts'
import type { WorkFiles } from '../../actors/queue/queue-ports.ts'
import { messageOf, RefusalError } from '../../domain/errors.ts'
import type { GpuId } from '../../domain/job.ts'
import type { NodeName } from '../../domain/node.ts'

/** A file is read once to be recognised, which takes long on a slow disk. */
const defaultWithinMs = 30_000

export type RemoteFiles = VideoFiles &
  JobFiles &
  Pick<WorkFiles, 'discard'> &
  Pick<Housekeeping, 'removeLeftOvers'>

export function createRemoteFiles(
  fleet: Fleet,
  { isInUse }: Pick<VideoFiles, 'isInUse'>,
  withinMs = defaultWithinMs,
): RemoteFiles {
  /** When each node last left a question without an answer. */
  const silentAt = new Map<NodeName, number>()
  const nodeWith = (gpu: GpuId) => {
    const name = fleet.nodeOf(gpu)
    const actors = name && fleet.at(name)
    if (actors) return { name, node: actors.node }
    throw new RefusalError(
      'node_away',
      `The file is on the machine "${name ?? 'unknown'}", which is not running now.`,
    )
  }
  /** Removals take turns: those that follow a silent one do not wait for the same machine again. */
  const patiently = async <Result>(
    name: NodeName,
    work: () => Promise<Result>,
  ): Promise<Result> => {
    if (performance.now() - (silentAt.get(name) ?? Number.NEGATIVE_INFINITY) < withinMs) {
      throw new RefusalError(
        'service_busy',
        `The machine "${name}" has the file and does not respond. Try again later.`,
      )
    }
    try {
      const result = await work()
      silentAt.delete(name)
      return result
    } catch (error) {
      if (error instanceof NoAnswerError) silentAt.set(name, performance.now())
      throw error
    }
  }
  const tellAll = (
    message: NodeCommand & { type: 'discardWork' | 'forgetJob' | 'removeLeftOvers' },
  ) => {
    for (const { node } of fleet.present()) tell(node, message)
  }
  return {
    // All downloads go through this node.
    isInUse,
    async find(video) {
      const { name, node } = nodeWith(video.gpu)
      return patiently(name, () => ask(node, { type: 'findVideo', video }, withinMs))
    },
    async remove(video) {
      const { name, node } = nodeWith(video.gpu)
      return patiently(name, () => ask(node, { type: 'removeVideo', video }, withinMs)).catch(
        (error: unknown) => {
          throw error instanceof ActorFailedError
            ? new UnconfirmedRemovalError(messageOf(error), { cause: error })
            : error
        },
      )
    },

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
