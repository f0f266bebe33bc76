/** The API of a node that does not lead. */
import { Hono } from 'hono'
import type { ChildView } from '../../actors/supervisor/supervisor-protocol.ts'
import type { Config } from '../../config/config.ts'
import { version } from '../../config/version.ts'
import type { Logger } from '../../domain/log.ts'
import { createFollowerApp } from '../../http/forwarding/follower-app.ts'
import type { Peers } from '../../http/peers/peers.ts'
import type { ClientEnv } from '../../http/request/client-env.ts'
import { dashboardRoutes } from '../../http/routes/dashboard-routes.ts'
import { livenessRoutes } from '../../http/routes/health-routes.ts'
import { metricsRoutes } from '../../http/routes/metrics-routes.ts'
import { readFigures } from '../../infra/metrics/figures.ts'
import { accessOf, dashboardDir } from '../leader-app.ts'
import type { Machine } from '../machine.ts'
import type { KnownLeader } from './known-leader.ts'

export type FollowerOptions = Readonly<{
  config: Config
  machine: Machine
  peers: Peers
  knownLeader: KnownLeader
  /** Actors of this machine. */
  children(): Promise<readonly ChildView[]>
  log: Logger
}>

/** Answers about its machine, and forwards everything else to the node that leads. */
export function createNodeApp({
  config,
  machine,
  peers,
  knownLeader,
  children,
  log,
}: FollowerOptions) {
  const { metrics, measured, checks, observe } = machine
  const scrape = async () =>
    metrics.expose(await readFigures({ children, measured, checks: checks.standing }))
  const local = new Hono<ClientEnv>()
    .route('/', dashboardRoutes(dashboardDir))
    .route('/', livenessRoutes({ children, version }))
    .route('/', metricsRoutes({ scrape }))
  const { leader, onLeaderChange } = knownLeader
  const access = accessOf(config)
  return createFollowerApp({ peers, access, local, leader, onLeaderChange, observe, log })
}
