import * as v from 'valibot'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { postgresMissing } from '../../../bench/postgres.ts'
import { refOf, tell } from '../../../src/actors/actor-ref.ts'
import type { QueueMessage } from '../../../src/actors/queue/queue-protocol.ts'
import { listNodes } from '../../../src/cluster/node-table.ts'
import { createReferences } from '../../../src/cluster/references.ts'
import { DatabaseUnreachableError } from '../../../src/domain/errors.ts'
import { NodeName } from '../../../src/domain/node.ts'
import { createClusterFleet } from '../../../src/service/cluster/fleet.ts'
import { aClusterDatabase, aMember, noLog } from '../../support/cluster/members.ts'
import { usePostgres } from '../../support/cluster/postgres.ts'

const [leader, x] = ['leader', 'x'].map((name) => v.parse(NodeName, name)) as [NodeName, NodeName]

async function aFleet(url: string) {
  const database = await aClusterDatabase(url)
  const here = () => ({ node: leader, session: 1 })
  const nothing = refOf<object>('nobody', () => true)
  const told: QueueMessage[] = []
  const queue = refOf<QueueMessage>('queue', (message) => told.push(message) > 0)
  const fleet = createClusterFleet({
    ...{ me: leader, term: 0, database, places: new Map(), kinds: new Map(), log: noLog },
    isCertain: () => true,
    ...{ busyGpus: async () => [], queue, archive: nothing, lostMs: 60_000 },
    own: {
      node: nothing,
      conversion: nothing,
      caretaker: nothing,
      template: nothing,
      gpu: () => nothing,
    },
    references: createReferences({ here, post: () => true, log: noLog }),
  })
  onTestFinished(fleet.stop)
  return { database, fleet, nodes: fleet.nodes, told }
}

const missing = postgresMissing()
const why = missing ? `: ${missing}` : ''

describe.skipIf(missing)(`a node of a cluster that knocks${why}`, () => {
  const postgres = usePostgres()

  it('joins once for each turn, however often it knocks', async () => {
    const { url } = await postgres.aDatabase()
    const { fleet, told } = await aFleet(url)
    const { membership } = await aMember(url, x)
    const session = membership.session()
    const knock = (turn?: number) =>
      tell(fleet.ref, { type: 'knocked', node: x, session, ...(turn !== undefined && { turn }) })
    const joins = () => told.filter(({ type }) => type === 'nodeJoined').length
    // The leader reads the nodes every second.
    await vi.waitUntil(() => knock(1) && joins() > 0, { timeout: 10_000, interval: 20 })
    knock(1)
    expect(joins()).toBe(1)
    knock(2)
    expect(joins()).toBe(2)
    // A node of an earlier version does not say its turn.
    knock()
    knock()
    expect(joins()).toBe(4)
  })
})

describe.skipIf(missing)(`the removal of a node of a cluster on PostgreSQL${why}`, () => {
  const postgres = usePostgres()

  it('is refused while the node runs, before the queue is asked', async () => {
    const { url } = await postgres.aDatabase()
    const { nodes } = await aFleet(url)
    await aMember(url, x)
    let asked = 0
    const removal = nodes.remove(x, async () => void asked++)
    await expect(removal).rejects.toMatchObject({ code: 'node_present' })
    expect(asked).toBe(0)
  })

  it('is refused when the node is started meanwhile, and the node remains', async () => {
    const { url } = await postgres.aDatabase()
    const { nodes, database } = await aFleet(url)
    const { membership } = await aMember(url, x)
    await membership.leave()
    const removal = nodes.remove(x, async () => void (await aMember(url, x)))
    await expect(removal).rejects.toMatchObject({ code: 'node_present' })
    expect(await listNodes(database.mail)).toMatchObject([{ name: x, state: 'present' }])
  })

  it('fails as unreachable while PostgreSQL does not respond, also after the queue has let the node go', async () => {
    const { url } = await postgres.aDatabase()
    const { nodes } = await aFleet(url)
    const { membership } = await aMember(url, x)
    await membership.leave()
    const stop = () => postgres.server().stop('SIGKILL')
    await expect(nodes.remove(x, stop)).rejects.toThrow(DatabaseUnreachableError)
    await expect(nodes.remove(x, async () => {})).rejects.toThrow(DatabaseUnreachableError)
    await postgres.server().startAgain()
    await nodes.remove(x, async () => {})
  })

  it('may be repeated', async () => {
    const { url } = await postgres.aDatabase()
    const { nodes, database } = await aFleet(url)
    const { membership } = await aMember(url, x)
    await membership.leave()
    for (let n = 0; n < 2; n++) await nodes.remove(x, async () => {})
    expect(await listNodes(database.mail)).toEqual([])
  })
})
