/** Nodes of a cluster that each row strikes. */
import {
  type ClusterStroke,
  type ClusterWorld,
  database,
  isFree,
  type Role,
  roles,
} from './cluster-world.ts'
import {
  type Kind,
  kindNames,
  nameTwice,
  partition,
  stepClock,
  strike,
  strikeAnyhow,
} from './node-strokes.ts'
import { fillPostgres, killPostgres } from './postgres-strokes.ts'
import { changeVersion, restartNext } from './version-strokes.ts'

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

const partitionPostgres = partition('no database', ({ database }) => database)
const partitionNodes = partition('no neighbours', ({ door }) => door)

export const clusterRows = {
  /** Any kind of fault at nodes of one role. */
  leader: (world) => strikeAnyhow(world, 'leader'),
  follower: (world) => strikeAnyhow(world, 'follower'),
  /** Any kind of fault of what nodes rely on. */
  surroundings: async (world) => (world.random.pick(surroundings(world)) ?? restartNext)(world),
  ...roleRows,
  'cluster-postgres': killPostgres,
  'postgres-full': fillPostgres,
  'partition-postgres': partitionPostgres,
  'partition-nodes': partitionNodes,
  rolling: restartNext,
  upgrade: changeVersion,
  'same-name': nameTwice,

  /** Clocks are an hour ahead or behind, and are set now and then. */
  clocks: async (world) => {
    const { random } = world
    if (random.chance(0.3)) await stepClock(world)
    const role = random.pick(roles) ?? 'leader'
    return strike(world, role, random.chance(0.6) ? 'service' : 'machine')
  },
} satisfies Record<string, ClusterStroke>

export type ClusterRowName = keyof typeof clusterRows
export const clusterRowNames = Object.keys(clusterRows) as ClusterRowName[]

function surroundings(world: ClusterWorld): ClusterStroke[] {
  const ofDatabase = world.disk ? [killPostgres, fillPostgres] : [killPostgres]
  const others = [partitionPostgres, partitionNodes, nameTwice, stepClock, changeVersion]
  return isFree(world)(database) ? [...others, ...ofDatabase] : others
}

/** Rows with another version of the program. */
export const hasVersions = (row: string): boolean => row === 'upgrade' || row === 'surroundings'

export const hasSmallDisk = (row: ClusterRowName): boolean =>
  row === 'postgres-full' || row === 'surroundings'

export const hasSteppedClocks = (row: ClusterRowName): boolean =>
  row === 'clocks' || row === 'surroundings'
