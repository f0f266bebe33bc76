import { setTimeout as delay } from 'node:timers/promises'
import { Hono } from 'hono'
import * as v from 'valibot'
import { type ActorRef, ask } from '../../actors/actor.ts'
import type { QueueMessage } from '../../actors/queue/queue-protocol.ts'
import { RefusalError } from '../../domain/errors.ts'
import type { NodeName } from '../../domain/node.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { NodeParam } from '../request/parameters.ts'
import { route } from '../request/route.ts'
import { found, orThrow } from '../response/outcome.ts'
import { NodeJson, type Nodes, nodeJson } from '../views/node-view.ts'

export type NodeRoutesOptions = Readonly<{ queue: ActorRef<QueueMessage>; nodes: Nodes }>

const NodesJson = v.object({ nodes: v.array(NodeJson) })

const ofOneNode = { tag: 'nodes', params: v.object({ name: NodeParam }) } as const

/** Machines that share the queue, and commands for one of them. */
export function nodeRoutes({ queue, nodes }: NodeRoutesOptions) {
  const view = async (): Promise<NodeJson[]> => {
    const uses = await ask(queue, { type: 'describeNodes' })
    return nodes.members().map((member) =>
      nodeJson(
        member,
        uses.find(({ name }) => name === member.name),
      ),
    )
  }
  const viewOf = async (name: NodeName): Promise<NodeJson> =>
    found(
      (await view()).find((node) => node.name === name),
      () => noNode(name),
    )

  /** A new leader knows the nodes before its queue does: they join within seconds. */
  const whenJoined = async (name: NodeName, command: DrainOrResume): Promise<void> => {
    for (let left = joinTries; ; left--) {
      const answer = await ask(queue, command)
      const members = nodes.members()
      // Without any, the leader has not read the nodes yet.
      const mayJoin = members.length === 0 || members.some((node) => node.name === name)
      if (!isUnknown(answer) || !mayJoin) return void orThrow(answer)
      if (left === 0)
        throw new RefusalError('service_busy', `Node "${name}" has not joined the leader yet.`)
      await delay(joinMs)
    }
  }

  return new Hono<ClientEnv>()
    .get(
      '/nodes',
      route({
        id: 'listNodes',
        access: 'admin',
        tag: 'nodes',
        summary: 'List nodes',
        details: 'A service without a cluster has one node, `local`.',
        answers: { 200: { means: 'All nodes', json: NodesJson } },
      }),
      async (c) => c.json({ nodes: await view() }, 200),
    )

    .post(
      '/nodes/:name/drain',
      route({
        ...ofOneNode,
        id: 'drainNode',
        access: 'admin',
        summary: 'Drain every GPU of a node',
        details:
          'Its GPUs end their jobs and take no new ones, also after a restart, and so do GPUs that are added ' +
          'later, until the node or one of its GPUs is resumed. Repeating it is harmless.',
        answers: { 200: { means: 'The node as it is now', json: NodeJson } },
        refusals: ['node_not_found', 'service_busy'],
      }),
      async (c) => {
        const { name: node } = c.req.valid('param')
        await whenJoined(node, { type: 'drainNode', node, requestId: c.var.requestId })
        return c.json(await viewOf(node), 200)
      },
    )

    .post(
      '/nodes/:name/resume',
      route({
        ...ofOneNode,
        id: 'resumeNode',
        access: 'admin',
        summary: 'Resume every GPU of a node',
        details: 'Its GPUs take jobs again, drained or in quarantine.',
        answers: { 200: { means: 'The node as it is now', json: NodeJson } },
        refusals: ['node_not_found', 'service_busy'],
      }),
      async (c) => {
        const { name: node } = c.req.valid('param')
        await whenJoined(node, { type: 'resumeNode', node, requestId: c.var.requestId })
        return c.json(await viewOf(node), 200)
      },
    )

    .delete(
      '/nodes/:name',
      route({
        ...ofOneNode,
        id: 'removeNode',
        access: 'admin',
        summary: 'Remove a node',
        details:
          'States that the machine is off: its unfinished jobs run elsewhere, and canceled ones end as ' +
          '`canceled`. Stop the service there first. It joins again when it is started.',
        answers: { 200: { means: 'The node as it was', json: NodeJson } },
        refusals: ['node_not_found', 'node_present'],
      }),
      async (c) => {
        const { name: node } = c.req.valid('param')
        const known = await viewOf(node)
        await nodes.remove(node, async () => {
          const answer = await ask(queue, { type: 'removeNode', node })
          if (!isUnknown(answer)) orThrow(answer)
        })
        return c.json(known, 200)
      },
    )
}

type DrainOrResume = Omit<Extract<QueueMessage, { type: 'drainNode' | 'resumeNode' }>, 'replyTo'>

/** Less than the patience of a request. */
const joinTries = 15
const joinMs = 200

/** The queue never had a job there, or an earlier removal failed after the queue had let the node go. */
const isUnknown = (answer: unknown): boolean =>
  answer instanceof RefusalError && answer.code === 'node_not_found'

const noNode = (name: NodeName) =>
  new RefusalError('node_not_found', `This service has no node "${name}"; GET /nodes lists them.`)
