import { type Context, Hono } from 'hono'
import * as v from 'valibot'
import { type ActorRef, ask } from '../../actors/actor.ts'
import type { QueueMessage } from '../../actors/queue/queue-protocol.ts'
import type { ChildView } from '../../actors/supervisor/supervisor-protocol.ts'
import type { StandingCheck } from '../../domain/check.ts'
import type { Client } from '../../domain/client.ts'
import type { NodeName } from '../../domain/node.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { route } from '../request/route.ts'
import type { Nodes } from '../views/node-view.ts'
import { ReadinessJson, readinessJson } from '../views/readiness.ts'
import { Count } from '../views/words.ts'

export type LivenessOptions = Readonly<{
  /** Actors of this machine. */
  children(): Promise<readonly ChildView[]>
  version: string
}>

export type HealthRoutesOptions = LivenessOptions &
  Readonly<{
    queue: ActorRef<QueueMessage>
    nodes: Pick<Nodes, 'members'>
    /** This node. */
    node: NodeName
    /** Whether the tools and files are there that a job needs, as far as it is known. */
    checks(): readonly StandingCheck[]
  }>

const HealthJson = v.object({
  status: v.picklist(['ok', 'degraded']),
  version: v.string(),
  uptime_seconds: Count,
  given_up: v.pipe(
    v.array(v.object({ id: v.string(), error: v.nullable(v.string()) })),
    v.description(
      'parts of the service that crashed too often; with `API_TOKENS`, clients see the error',
    ),
  ),
})
type HealthJson = v.InferOutput<typeof HealthJson>

/** The process is running. Each node of a cluster answers this itself. */
export const livenessRoutes = ({ children, version }: LivenessOptions) =>
  new Hono<ClientEnv>().get(
    '/health',
    route({
      id: 'checkHealth',
      access: 'probe',
      tag: 'service',
      summary: 'Whether the service lives',
      answers: { 200: { means: 'It does', json: HealthJson } },
    }),
    async (c) => {
      const givenUp = (await children()).filter(({ phase }) => phase === 'given_up')
      const health: HealthJson = {
        status: givenUp.length > 0 ? 'degraded' : 'ok',
        version,
        uptime_seconds: Math.floor(process.uptime()),
        given_up: givenUp.map(({ id, error }) => ({
          id,
          error: isClient(c) ? (error ?? null) : null,
        })),
      }
      return c.json(health, 200)
    },
  )

/** Health: the service lives. Readiness: a job that came now would get somewhere. */
export const healthRoutes = ({ queue, nodes, node, checks, ...liveness }: HealthRoutesOptions) =>
  new Hono<ClientEnv>()
    .route('/', livenessRoutes(liveness))

    .get(
      '/ready',
      route({
        id: 'checkReadiness',
        access: 'probe',
        tag: 'service',
        summary: 'Whether a job that came now would get somewhere',
        answers: {
          200: { means: 'It would', json: ReadinessJson },
          503: { means: 'It would not: `checks` says why, and what to do', json: ReadinessJson },
        },
      }),
      async (c) => {
        const queueNow = await ask(queue, { type: 'describeQueue' }, patienceMs).catch(
          () => undefined,
        )
        const findings = { queue: queueNow, standing: checks(), members: nodes.members(), node }
        const readiness = readinessJson(findings, isClient(c))
        return c.json(readiness, readiness.ready ? 200 : 503)
      },
    )

/** A part that is being restarted is soon back; who polls comes again. */
const patienceMs = 1_000

const isClient = (c: Context<ClientEnv>): boolean =>
  (c.var.client as Client | undefined) !== undefined
