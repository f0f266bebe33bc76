import { type Context, Hono } from 'hono'
import * as v from 'valibot'
import { type ActorRef, ask } from '../../actors/actor.ts'
import type { Hold } from '../../actors/queue/environment-state.ts'
import type { QueueMessage, QueueSummary } from '../../actors/queue/queue-protocol.ts'
import type { ChildView } from '../../actors/supervisor/supervisor-protocol.ts'
import type { Check, StandingCheck } from '../../domain/check.ts'
import type { Client } from '../../domain/client.ts'
import { type Member, nodeStates } from '../../domain/node.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { route } from '../request/route.ts'
import type { Nodes } from '../views/node-view.ts'
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

const ReadinessJson = v.object({
  ready: v.boolean(),
  checks: v.array(
    v.object({
      name: v.string(),
      ok: v.boolean(),
      detail: v.pipe(
        v.string(),
        v.description('what to do if it is not so; with `API_TOKENS`, for clients only'),
      ),
      age_seconds: v.pipe(v.number(), v.description('of the verdict; nobody waits for a new one')),
    }),
  ),
  nodes: v.pipe(
    v.object({
      ...v.entriesFromList(nodeStates, Count),
      leader: v.pipe(
        v.nullable(v.string()),
        v.description('name of the node that runs the queue; with `API_TOKENS`, for clients only'),
      ),
    }),
    v.description('number of nodes in each state'),
  ),
})
type ReadinessJson = v.InferOutput<typeof ReadinessJson>

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
export const healthRoutes = ({ queue, nodes, checks, ...liveness }: HealthRoutesOptions) =>
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
        const found = [...queueChecks(queueNow).map(justNow), ...checks()]
        const ready = found.every(({ ok }) => ok)
        const shown = isClient(c) ? found : found.map(withoutDetail)
        const readiness: ReadinessJson = {
          ready,
          checks: shown.map(checkJson),
          nodes: nodesJson(nodes.members(), isClient(c)),
        }
        return c.json(readiness, ready ? 200 : 503)
      },
    )

/** A part that is being restarted is soon back; who polls comes again. */
const patienceMs = 1_000

function queueChecks(queue: QueueSummary | undefined): Check[] {
  if (!queue) {
    return [
      { name: 'queue', ok: false, detail: 'It does not answer just now; ask again in a moment.' },
    ]
  }
  const { open, hasRoom, hold, waiting, usableGpus, slowLoads } = queue
  const isHeld = hold?.reason === 'environment' && waiting > 0
  const allLoad = slowLoads.length > 0 && slowLoads.length >= usableGpus.length
  return [
    { name: 'queue', ok: open, detail: open ? 'open' : 'The service is stopping.' },
    {
      name: 'disk',
      ok: hasRoom,
      detail: hold?.reason === 'disk' ? hold.detail : 'has room',
    },
    {
      name: 'environment',
      ok: !isHeld,
      detail: isHeld ? whyHeld(hold) : 'no failure of the environment keeps jobs waiting',
    },
    {
      name: 'loading',
      ok: !allLoad,
      detail:
        slowLoads.length > 0
          ? `GPU ${slowLoads.join(', ')} has been loading the model for unusually long: look at the log of its job, and cancel the job if it hangs.`
          : 'no load takes unusually long',
    },
    {
      name: 'gpus',
      ok: usableGpus.length > 0,
      detail:
        usableGpus.length > 0
          ? `usable: ${usableGpus.join(', ')}`
          : 'Every GPU is down, drained or in quarantine; jobs wait. GET /gpus says why, POST /gpus/{id}/resume lifts it.',
    },
  ]
}

const whyHeld = ({ detail, since }: Extract<Hold, { reason: 'environment' }>): string =>
  since === undefined
    ? `Jobs wait because a check fails. ${detail}`
    : `Jobs wait because the last ones failed by the environment; one tries again from time to time. ${detail}`

function nodesJson(members: readonly Member[], isForClient: boolean): ReadinessJson['nodes'] {
  const count = (wanted: Member['state']) => members.filter(({ state }) => state === wanted).length
  const leader = members.find(({ role, state }) => role === 'leader' && state === 'present')
  return {
    ...{ present: count('present'), left: count('left'), lost: count('lost') },
    leader: isForClient ? (leader?.name ?? null) : null,
  }
}

/** Details name paths and addresses of this machine. */
const withoutDetail = (check: StandingCheck): StandingCheck => ({
  ...check,
  detail: 'Send a token to read this.',
})

const isClient = (c: Context<ClientEnv>): boolean =>
  (c.var.client as Client | undefined) !== undefined

const justNow = (check: Check): StandingCheck => ({ ...check, ageMs: 0 })

const checkJson = ({ ageMs, ...check }: StandingCheck) => ({
  ...check,
  age_seconds: Math.round(ageMs / 100) / 10,
})
