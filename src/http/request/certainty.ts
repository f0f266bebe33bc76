/** A leader that stops, or that the database does not confirm: another node may lead by now, and change jobs. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Context } from 'hono'
import type { RouterRoute } from 'hono/types'
import { RefusalError } from '../../domain/errors.ts'
import type { Outgoing } from '../fast/outgoing.ts'
import { notLeaderHeader } from '../peers/peers.ts'
import type { ClientEnv } from './client-env.ts'
import { type Access, descriptionOf } from './route.ts'

export type Certainty = Readonly<{
  /** Whether no other node can lead. */
  isCertain(): boolean
  /** Whether this node takes nothing new, so that another one leads soon. */
  isLeaving(): boolean
}>

type Request = Readonly<{
  c: Context<ClientEnv>
  asked: RouterRoute | undefined
  isForwarded: boolean
}>

/** Runs the handlers of a request, unless they could respond with states that are no longer true. */
export async function withCertainty(
  { c, asked, isForwarded }: Request,
  { isCertain, isLeaving }: Certainty,
  next: () => Promise<void>,
): Promise<void> {
  const mayBeWrong = () => !isCertain() && !isAboutThisNode(asked)
  // The node that forwarded the request repeats it at the next leader.
  const sendOn = () => c.header(notLeaderHeader, '1')
  const refuse = (): never => {
    if (isForwarded) sendOn()
    throw new RefusalError('database_unreachable', detail)
  }
  if (isForwarded && isLeaving()) {
    sendOn()
    throw new RefusalError('shutting_down', 'This node is stopping. Nothing was changed.')
  }
  if (mayBeWrong() && !isForwarded) await untilCertain(c.env.outgoing, isCertain)
  if (mayBeWrong()) refuse()
  await next()
  const isRead = c.req.method === 'GET' || c.req.method === 'HEAD'
  if (isForwarded && isLeaving() && hasMissed(c, isRead)) sendOn()
  // A long poll has waited. A change that was stored is a fact, whoever leads.
  if (!isRead || !c.res.ok || c.env.outgoing.headersSent || !mayBeWrong()) return
  void c.res.body?.cancel()
  c.res = undefined
  // Headers are those of the refusal from now on.
  c.finalized = false
  refuse()
}

/** The stop came in between, and nothing was changed. */
function hasMissed({ res, error }: Context<ClientEnv>, isRead: boolean): boolean {
  const isRefused = error instanceof RefusalError && error.code === 'shutting_down'
  return res.status === 503 && (isRead || isRefused)
}

/** A database that is back confirms it within a beat. */
const patienceMs = 2_000
const lookMs = 50

async function untilCertain(
  client: Pick<Outgoing, 'destroyed'>,
  isCertain: () => boolean,
): Promise<void> {
  const until = performance.now() + patienceMs
  while (!client.destroyed && !isCertain() && performance.now() < until) await delay(lookMs)
}

const detail =
  'PostgreSQL does not confirm that this node leads the cluster, so another one may lead by now. Nothing was changed. Send the request to another node, or try again in a moment.'

const withoutJobs: ReadonlySet<Access | undefined> = new Set(['anybody', 'probe', 'stranger'])

function isAboutThisNode(asked: RouterRoute | undefined): boolean {
  if (!asked || asked.path === '/metrics') return true
  return withoutJobs.has(descriptionOf(asked.handler)?.access)
}
