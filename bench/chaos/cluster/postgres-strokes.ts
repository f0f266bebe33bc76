/** Faults of the database of all nodes. */
import { setTimeout as delay } from 'node:timers/promises'
import { alone, type ClusterStroke, type ClusterWorld, database, isFree } from './cluster-world.ts'

/** Room for a database and three segments of its log. */
export const smallDisk = { mib: 160, files: 20_000 }

/** It keeps few segments of its log for later, and stays down after a crash, as in a container. */
export const smallSettings = ['min_wal_size=32MB', 'max_wal_size=48MB', 'restart_after_crash=off']

export const killPostgres = onDatabase('PostgreSQL killed', async ({ random, postgres }) => {
  await postgres.stop('SIGKILL')
  await delay(random.chance(0.7) ? random.between(0, 1_000) : random.between(3_000, 10_000))
  await postgres.startAgain()
  return true
})

/** Its tables cannot grow. Where its log cannot either, it ends by itself and is started again. */
export const fillPostgres = onDatabase('PostgreSQL full', async (world) => {
  const { random, postgres, disk } = world
  if (!disk) throw new Error('the row needs a small disk')
  disk.fill({ leaving: random.chance(0.5) ? 0 : random.between(0, 64) * 1_024 })
  if (random.chance(0.5)) await useUpLog(world, random.between(1, 4))
  await delay(random.chance(0.5) ? random.between(500, 3_000) : random.between(3_000, 10_000))
  const hasEnded = !postgres.isUp()
  disk.makeRoom()
  await postgres.startAgain()
  return !hasEnded || 'PostgreSQL full, and ended'
})

/** There is one database, so its faults come one after the other. */
function onDatabase(
  kind: string,
  stroke: (world: ClusterWorld) => Promise<boolean | string>,
): ClusterStroke {
  return async (world) => {
    await delay(world.random.between(0, 1_500))
    if (!isFree(world)(database)) return false
    return alone(world, database, kind, () => stroke(world))
  }
}

/** Each call begins another segment of its log, of 16 MiB. */
async function useUpLog({ postgres }: ClusterWorld, times: number): Promise<void> {
  for (let n = 0; n < times; n++) {
    const isDone = await postgres.query('postgres', 'select pg_switch_wal()').then(
      () => true,
      () => false,
    )
    if (!isDone) return
    await delay(100)
  }
}
