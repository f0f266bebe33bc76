/** Whether a job that came now would get somewhere, and what is in its way. */
import * as v from 'valibot'
import { type Hold, howToMakeRoom } from '../../actors/queue/environment-state.ts'
import type { NodeCondition, QueueSummary } from '../../actors/queue/queue-protocol.ts'
import type { Check, StandingCheck } from '../../domain/check.ts'
import { type Member, type NodeName, nodeStates } from '../../domain/node.ts'
import { Count } from './words.ts'

export const ReadinessJson = v.object({
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
      node: v.pipe(
        v.optional(v.nullable(v.string())),
        v.description(
          'in a cluster, name of the node whose machine is checked; absent for checks of the whole cluster, which alone decide `ready`; with `API_TOKENS`, for clients only, else null',
        ),
      ),
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
export type ReadinessJson = v.InferOutput<typeof ReadinessJson>

export type Findings = Readonly<{
  /** Undefined: it does not answer just now. */
  queue: QueueSummary | undefined
  /** Checks of this machine, which has the queue. */
  standing: readonly StandingCheck[]
  members: readonly Member[]
  /** This node. */
  node: NodeName
}>

type NodeCheck = StandingCheck & Readonly<{ node?: NodeName | null }>

export function readinessJson(findings: Findings, isForClient: boolean): ReadinessJson {
  const found = findings.members.length > 1 ? checksOfCluster(findings) : checksOfOne(findings)
  const shown = isForClient ? found : found.map(withoutDetail)
  return {
    ready: found.every(({ ok, node }) => ok || node !== undefined),
    checks: shown.map(({ ageMs, ...check }) => ({
      ...check,
      age_seconds: Math.round(ageMs / 100) / 10,
    })),
    nodes: nodesJson(findings.members, isForClient),
  }
}

const checksOfOne = ({ queue, standing }: Findings): readonly NodeCheck[] => [
  ...queueChecks(queue, troubleOfOne).map(justNow),
  ...standing,
]

/** Checks of the cluster, then those of this machine, then failures of the others. */
function checksOfCluster({ queue, standing, node }: Findings): readonly NodeCheck[] {
  const own = new Set(standing.map(({ name }) => name))
  return [
    ...queueChecks(queue, troubleOfAll).map(justNow),
    ...standing.map((check) => (isOfCluster(check) ? check : { ...check, node })),
    ...(queue?.nodes ?? []).flatMap((condition) =>
      failuresOf(condition)
        .filter(({ name }) => condition.name !== node || !own.has(name))
        .map((check) => ({ ...justNow(check), node: condition.name })),
    ),
  ]
}

/** All nodes have the database and its clock in common. The leader sends the videos of a shared directory. */
const isOfCluster = ({ name }: Check): boolean => ['database', 'clock', 'results'].includes(name)

function failuresOf({ hold, failed }: NodeCondition): readonly Check[] {
  if (hold?.reason === 'disk') return [{ name: 'disk', ok: false, detail: hold.detail }, ...failed]
  // Without a time, the failed checks are the reason.
  if (hold?.since === undefined) return failed
  const detail = `The last jobs failed by the environment; one tries again from time to time. ${hold.detail}`
  return [{ name: 'environment', ok: false, detail }, ...failed]
}

type EnvironmentHold = Extract<Hold, { reason: 'environment' }>

/** Why no job gets anywhere because of the environment. Failed checks are also shown as such: they matter to waiting jobs. */
const troubleOfOne = ({ hold, waiting }: QueueSummary): string | undefined =>
  hold?.reason === 'environment' && waiting > 0 ? whyJobsWait(hold) : undefined

/** Failed checks of a node alone do not make a cluster unready; those of all nodes do. */
function troubleOfAll({ hold, hasRoom, nodes, waiting }: QueueSummary): string | undefined {
  if (!hold || !hasRoom) return undefined
  const holds = nodes.flatMap(({ name, gpus, hold }) =>
    gpus.length > 0 && hold?.reason === 'environment'
      ? [{ ...hold, detail: `${name}: ${hold.detail}` }]
      : [],
  )
  const [first] = holds
  if (!first) return undefined
  if (waiting > 0) return whyJobsWait(first)
  // After failures, a job that came now would probe.
  const wouldProbe = holds.some(({ since }) => since !== undefined)
  return wouldProbe ? undefined : `No node starts jobs, because checks fail. ${first.detail}`
}

function queueChecks(
  queue: QueueSummary | undefined,
  troubleIn: (queue: QueueSummary) => string | undefined,
): Check[] {
  if (!queue) {
    return [
      { name: 'queue', ok: false, detail: 'It does not answer just now; ask again in a moment.' },
    ]
  }
  const { open, hasRoom, hold, usableGpus, slowLoads } = queue
  const trouble = troubleIn(queue)
  const allLoad = slowLoads.length > 0 && slowLoads.length >= usableGpus.length
  return [
    { name: 'queue', ok: open, detail: open ? 'open' : 'The service is stopping.' },
    {
      name: 'disk',
      ok: hasRoom,
      detail: hasRoom ? 'has room' : (hold?.detail ?? howToMakeRoom(undefined)),
    },
    {
      name: 'environment',
      ok: trouble === undefined,
      detail: trouble ?? 'no failure of the environment keeps jobs waiting',
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

const whyJobsWait = ({ detail, since }: EnvironmentHold): string =>
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
const withoutDetail = (check: NodeCheck): NodeCheck => ({
  ...check,
  detail: 'Send a token to read this.',
  ...(check.node !== undefined && { node: null }),
})

const justNow = (check: Check): StandingCheck => ({ ...check, ageMs: 0 })
