/** Nodes that are stopped and started again, with the same version or another one. */
import { setTimeout as delay } from 'node:timers/promises'
import { main } from '../../built.ts'
import { signal } from '../processes.ts'
import { alone, type ClusterStroke, type ClusterWorld, isFree } from './cluster-world.ts'
import type { ChaosNode } from './nodes.ts'

/** One fault is one node that is stopped and started again, in turn. */
export const restartNext: ClusterStroke = async (world) => {
  const { random } = world
  const next = longestUp(world)
  if (!next) return false
  const { service } = next
  return alone(world, next, 'stopped', async () => {
    await delay(random.between(0, 1_000))
    await service.listening()
    await service.stop()
    await service.listening()
    return true
  })
}

/** One fault is one node that changes its version, to the earlier one or back. A third of them are killed. */
export const changeVersion: ClusterStroke = async (world) => {
  const { random, earlier } = world
  if (earlier === undefined) throw new Error('the row needs --from COMMIT')
  const next = longestUp(world)
  if (!next) return false
  const { service, version } = next
  return alone(world, next, 'other version', async () => {
    await delay(random.between(0, 1_000))
    await service.listening()
    version.main = version.main === main ? earlier : main
    const victim = service.identity()
    if (victim && random.chance(0.33)) {
      const ended = service.expectEnd()
      signal(victim, 'SIGKILL')
      await ended
      await service.listening()
      return 'other version after a kill'
    }
    await service.stop()
    await service.listening()
    return true
  })
}

function longestUp(world: ClusterWorld): ChaosNode | undefined {
  const free = world.fleet.nodes.filter(isFree(world))
  return free.toSorted((a, b) => upSince(a) - upSince(b))[0]
}

const upSince = ({ service }: ChaosNode): number => Number(service.identity()?.started ?? Infinity)
