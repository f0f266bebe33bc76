/** All machines at once: their GPUs, and what only the machines themselves know of these. */
import type { Caused } from '../../domain/client.ts'
import { RefusalError } from '../../domain/errors.ts'
import type { GpuId } from '../../domain/job.ts'
import type { NodeName } from '../../domain/node.ts'
import { ask } from '../actor.ts'
import type { Fleet } from '../queue/fleet.ts'
import type { ChildView, RestartAnswer } from '../supervisor/supervisor-protocol.ts'
import type { GpuReading } from './node-protocol.ts'

export type GpuDevice = Readonly<{
  id: GpuId
  /** What `CUDA_VISIBLE_DEVICES` gets on its machine. */
  device: string
  name?: string
  uuid?: string
}>

/** Undefined is what its machine did not tell in time, or does not know. */
export type SeenGpu = Readonly<{
  gpu: GpuDevice
  node: NodeName | undefined
  actor: ChildView | undefined
  reading: GpuReading | undefined
}>

export type Machines = Readonly<{
  gpus(): readonly GpuDevice[]
  /** Undefined: a GPU of a node that was removed. */
  nodeOf(gpu: GpuId): NodeName | undefined
  look(withinMs?: number): Promise<readonly SeenGpu[]>
  restart(gpu: GpuId, cause: Caused): Promise<RestartAnswer>
}>

/** A machine that hangs keeps nobody waiting for longer. */
const patienceMs = 2_000

export function createMachines(fleet: Fleet, gpus: () => readonly GpuDevice[]): Machines {
  return {
    gpus,
    nodeOf: fleet.nodeOf,
    async look(withinMs = patienceMs) {
      const asked = [...fleet.present()].map(({ node }) =>
        ask(node, { type: 'describeNode' }, withinMs).catch(() => undefined),
      )
      const answers = (await Promise.all(asked)).filter((answer) => answer !== undefined)
      const actors = new Map(answers.flatMap((answer) => [...answer.actors]))
      const readings = new Map(answers.flatMap((answer) => [...answer.readings]))
      return gpus().map((gpu) => {
        const { id } = gpu
        return {
          ...{ gpu, node: fleet.nodeOf(id) },
          ...{ actor: actors.get(id), reading: readings.get(id) },
        }
      })
    },
    async restart(gpu, cause) {
      if (!gpus().some(({ id }) => id === gpu)) return 'no_such_child'
      const name = fleet.nodeOf(gpu)
      const actors = name && fleet.at(name)
      if (actors) return ask(actors.node, { type: 'restartGpu', gpu, ...cause })
      throw new RefusalError(
        'node_away',
        `The machine of GPU ${gpu} is not running now. Its actors start with it.`,
      )
    },
  }
}
