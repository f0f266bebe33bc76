/**
 * Numbers of GPUs in the whole cluster. A device keeps its number for good, also while its node is away. Another machine
 * that takes the name of a node gets other numbers: it knows nothing of the processes and files of the former one.
 */
import type { GpuId } from '../domain/job.ts'
import type { Connection } from './database.ts'
import type { NodeIdentity } from './election-rules.ts'
import { renamedGpus } from './gpu-identity.ts'
import type { NodeGpu } from './member-rules.ts'
import type { NodeName } from './node-name.ts'

/** `home`: id of the data directory of the machine; absent: that of the next node of this name. */
export type GpuPlace = Readonly<{ node: NodeName; home?: string } & Device>

type Device = Omit<NodeGpu, 'id'>

/** `id`: the number of the GPU on its machine. It is certain if the UUID is known. */
export type FoundGpu = Device & Readonly<{ id?: number }>

/**
 * The GPUs of a node with their numbers, in the given order. A GPU keeps its number when it is named by its UUID instead
 * of its number on the machine, or the reverse. One without a number gets the smallest one that no GPU has. Name and
 * UUID are stored as they are now. May be repeated when it fails.
 *
 * `identified`: the given GPUs with their UUIDs, as far as these can be read.
 */
export async function numberGpus(
  { query }: Connection,
  { name: node, home }: NodeIdentity,
  gpus: readonly FoundGpu[],
  identified: (gpus: readonly FoundGpu[]) => Promise<readonly FoundGpu[]> = async () => gpus,
): Promise<readonly NodeGpu[]> {
  const devices = gpus.map(({ device }) => device)
  await takeOverFree()
  await renameKnown()
  while (!(await insertNew())) {
    // Another node has taken one of the numbers. Each failure is the success of another node, so they end.
  }
  const names = gpus.map(({ name }) => name ?? null)
  const uuids = gpus.map(({ uuid }) => uuid ?? null)
  await query(update, [node, home, devices, names, uuids])
  const rows = await readOwn()
  const ids = new Map(rows.map(({ device, id }) => [device, id]))
  return gpus.map(({ device, name, uuid }) => {
    const id = ids.get(device)
    if (id === undefined) throw new Error(`the number of GPU ${device} of ${node} was deleted`)
    return { id, ...describe({ device, name, uuid }) }
  })

  async function takeOverFree(): Promise<void> {
    const free = 'select 1 from node_gpu where node = $1 and home is null'
    if ((await query(free, [node])).count > 0) await query(takeOver, [node, home])
  }

  async function readOwn(): Promise<readonly Row[]> {
    const own = 'select * from node_gpu where node = $1 and home = $2'
    return (await query<Row>(own, [node, home])).rows
  }

  /** Only if there is something to rename: nvidia-smi takes seconds to answer on some machines. */
  async function renameKnown(): Promise<void> {
    const rows = await readOwn()
    const isKnown = (wanted: string) => rows.some(({ device }) => device === wanted)
    if (devices.every(isKnown) || rows.every(({ device }) => devices.includes(device))) return
    const now = (await identified(gpus)).map(({ id, ...gpu }) => ({
      ...gpu,
      ...(gpu.uuid !== undefined && id !== undefined && { index: id }),
    }))
    const renamed = renamedGpus(rows, now)
    const ids = renamed.map(({ id }) => id)
    await query(rename, [node, home, ids, renamed.map(({ device }) => device)])
  }

  /** All or nothing, so that the numbers of a node follow the order of its devices. */
  async function insertNew(): Promise<boolean> {
    try {
      await query(insert, [node, home, devices])
      return true
    } catch (error) {
      if ((error as { code?: unknown }).code === uniqueViolation) return false
      throw error
    }
  }
}

/** All GPUs that were ever numbered. */
export async function readGpuPlaces({ query }: Connection): Promise<ReadonlyMap<GpuId, GpuPlace>> {
  const { rows } = await query<Row>('select * from node_gpu order by id')
  return new Map(
    rows.map(({ id, node, home, ...device }) => [
      id,
      { node, ...(home !== null && { home }), ...describe(device) },
    ]),
  )
}

const uniqueViolation = '23505'

/** An operator has said that their machine is off, or `wanctl migrate` has written them. */
const takeOver = `
  update node_gpu set home = $2
  where id in (
    select distinct on (device) id from node_gpu
    where node = $1 and home is null
      and device not in (select device from node_gpu where node = $1 and home = $2)
    order by device, id
  )`

/** In ascending order: nodes that insert at once wait for each other, and never in a circle. */
const insert = `
  insert into node_gpu (id, node, home, device)
  select free.id, $1, $2, wanted.device
  from (
    select device, row_number() over (order by min(position)) as place
    from unnest($3::text[]) with ordinality as given (device, position)
    where device not in (select device from node_gpu where node = $1 and home = $2)
    group by device
  ) as wanted
  join (
    select id, row_number() over (order by id) as place
    from generate_series(0, (select count(*) from node_gpu)::int + cardinality($3::text[])) as id
    where id not in (select id from node_gpu)
  ) as free using (place)
  order by place`

const rename = `
  update node_gpu set device = now.device
  from unnest($3::int[], $4::text[]) as now (id, device)
  where node_gpu.node = $1 and node_gpu.home = $2 and node_gpu.id = now.id`

const update = `
  update node_gpu set name = now.name, uuid = now.uuid
  from unnest($3::text[], $4::text[], $5::text[]) as now (device, name, uuid)
  where node_gpu.node = $1 and node_gpu.home = $2 and node_gpu.device = now.device
    and (node_gpu.name, node_gpu.uuid) is distinct from (now.name, now.uuid)`

/** As `pg` reads it. */
type Row = Readonly<{
  id: GpuId
  node: NodeName
  home: string | null
  device: string
  name: string | null
  uuid: string | null
}>

const describe = ({
  device,
  name,
  uuid,
}: Readonly<{
  device: string
  name?: string | null | undefined
  uuid?: string | null | undefined
}>): Device => ({
  device,
  ...(name != null && { name }),
  ...(uuid != null && { uuid }),
})
