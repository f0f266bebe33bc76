import type { Connection } from './database.ts'
import { databaseMs } from './database-clock.ts'
import type { ClusterNode, NodeDescription, NodeGpu, NodeState } from './member-rules.ts'
import type { Look } from './watch.ts'

/** A node, and the process that beats in its row. */
export type NodeEntry = Readonly<{ node: ClusterNode; run: string }>

export type NodeTable = Look & Readonly<{ entries: readonly NodeEntry[]; databaseMs: number }>

/** Reads one node, or all in the order of their names. */
export async function readNodes({ query }: Connection, name?: string): Promise<NodeTable> {
  const {
    rows,
    count: _,
    ...look
  } = await query<Row>(
    `select node.*, ${databaseMs} as ms from (select 1) as one
     left join node on $1::text is null or name = $1 order by name`,
    [name ?? null],
  )
  return {
    ...look,
    databaseMs: Number(rows[0]?.ms),
    entries: rows.flatMap((row) => (row.name === null ? [] : [toEntry(row)])),
  }
}

/** All nodes, as any of them sees them. */
export const listNodes = async (connection: Connection): Promise<readonly ClusterNode[]> =>
  (await readNodes(connection)).entries.map(({ node }) => node)

export async function isPresent(connection: Connection, name: string): Promise<boolean> {
  const [entry] = (await readNodes(connection, name)).entries
  return entry?.node.state === 'present'
}

/** Whether a node of another name is present. */
export const hasOtherNode = async (connection: Connection, name: string): Promise<boolean> =>
  (await listNodes(connection)).some((node) => node.name !== name && node.state === 'present')

/**
 * The next node of this name gets the numbers of its GPUs. False: the node is present, and remains. A lost node that is
 * removed and still runs notices it and ends.
 */
export async function removeNode(connection: Connection, name: string): Promise<boolean> {
  await connection.query(remove, [name])
  return !(await isPresent(connection, name))
}

const remove = `
  with removed as (delete from node where name = $1 and state <> 'present' returning name, home)
  update node_gpu set home = null from removed where node_gpu.node = removed.name and node_gpu.home = removed.home`

export const descriptionColumns = ({
  url,
  version,
  gpus,
  maxLoads,
}: NodeDescription): readonly unknown[] => [url, version, JSON.stringify(gpus), maxLoads]

/** As `pg` reads it. */
type Row = Readonly<{
  name: string
  home: string
  run: string
  session: string
  state: NodeState
  beat: string
  url: string
  version: string
  gpus: readonly NodeGpu[]
  max_loads: number
  ms: number
}>

const toEntry = ({ run, max_loads, session, beat, ms: _, ...rest }: Row): NodeEntry => ({
  run,
  node: { ...rest, session: Number(session), beat: Number(beat), maxLoads: max_loads },
})
