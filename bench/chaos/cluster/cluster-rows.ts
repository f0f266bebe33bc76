/** Nodes of a cluster that each row strikes. */
import { type ClusterStroke, type Role, roles } from './cluster-world.ts'
import { type Kind, kindNames, nameTwice, partition, strike, strikeAnyhow } from './node-strokes.ts'
import { setClock } from './nodes.ts'
import { fillPostgres, killPostgres } from './postgres-strokes.ts'
import { changeVersion, restartNext } from './version-strokes.ts'

const hour = 3_600_000
export const clockSteps = [0, hour, -hour] as const

type RoleRow = `${Role}-${Kind}`

/** One kind of fault at nodes of one role. */
const roleRows = Object.fromEntries(
  kindNames.flatMap((kind) =>
    roles.map((role): [string, ClusterStroke] => [
      `${role}-${kind}`,
      (world) => strike(world, role, kind),
    ]),
  ),
) as Record<RoleRow, ClusterStroke>

export const clusterRows = {
  /** Any kind of fault at nodes of one role. */
  leader: (world) => strikeAnyhow(world, 'leader'),
  follower: (world) => strikeAnyhow(world, 'follower'),
  ...roleRows,
  'cluster-postgres': killPostgres,
  'postgres-full': fillPostgres,
  'partition-postgres': partition(({ database }) => database),
  'partition-nodes': partition(({ door }) => door),
  rolling: restartNext,
  upgrade: changeVersion,
  'same-name': nameTwice,

  /** Clocks are an hour ahead or behind, and are set now and then. */
  clocks: async (world) => {
    const { random, fleet } = world
    const node = random.pick(fleet.nodes)
    if (node && random.chance(0.3)) setClock(node, random.pick(clockSteps) ?? 0)
    const role = random.pick(roles) ?? 'leader'
    return strike(world, role, random.chance(0.6) ? 'service' : 'machine')
  },
} satisfies Record<string, ClusterStroke>

export type ClusterRowName = keyof typeof clusterRows
export const clusterRowNames = Object.keys(clusterRows) as ClusterRowName[]

/** Rows whose faults cannot overlap: there is one database. */
export const strikesDatabase = (row: ClusterRowName): boolean =>
  row === 'cluster-postgres' || row === 'postgres-full'
