/** The whole API, in front of the actors of the node that leads. */
import { join } from 'node:path'
import type { ActorRef } from '../actors/actor-ref.ts'
import type { Machines } from '../actors/node/machines.ts'
import type { ChildView } from '../actors/supervisor/supervisor-protocol.ts'
import type { TemplateMessage } from '../actors/template/template-protocol.ts'
import type { Config } from '../config/config.ts'
import { root } from '../config/root.ts'
import { version } from '../config/version.ts'
import type { AddressGuard } from '../domain/address-guard.ts'
import type { StandingCheck } from '../domain/check.ts'
import type { Logger } from '../domain/log.ts'
import type { NodeName } from '../domain/node.ts'
import { createApp } from '../http/app.ts'
import type { Peers } from '../http/peers/peers.ts'
import type { Certainty } from '../http/request/certainty.ts'
import type { Memory } from '../http/request/lane.ts'
import type { NodeFilesOptions } from '../http/response/node-files.ts'
import type { FileLinksOptions } from '../http/views/file-links.ts'
import type { Nodes } from '../http/views/node-view.ts'
import { logOf } from '../infra/disk/data-directory.ts'
import { createNegativePromptRefusal } from '../infra/installation/negative-prompt.ts'
import { readFigures } from '../infra/metrics/figures.ts'
import type { ServiceDatabase } from './database/service-database.ts'
import type { LeaderActors } from './leader-actors.ts'
import type { Machine } from './machine.ts'
import type { NodeActors } from './node-actors.ts'
import type { Records } from './records.ts'

/** A cancel is answered at most this long after the time that a process has to end by itself. */
const afterGraceMs = 10_000

/** Longest time that the queue waits for the end of a process. */
export const cancelWaitOf = ({ graceMs }: Config): number => graceMs + afterGraceMs

export type LeaderAppOptions = Readonly<{
  config: Config
  machine: Machine
  actors: LeaderActors
  /** Those of this machine. */
  own: NodeActors
  node: NodeName
  /** Templates of other nodes; undefined where a node is away. Absent: there are none. */
  templatesElsewhere?: () => Iterable<readonly [NodeName, ActorRef<TemplateMessage> | undefined]>
  machines: Machines
  nodes: Nodes
  /** Where the files of a job are; absent: here. */
  holder?: NodeFilesOptions['holder']
  records: Records
  database: Pick<ServiceDatabase, 'bytes'>
  /** Actors of this machine. */
  children(): Promise<readonly ChildView[]>
  /** Other nodes of the cluster; absent: there are none. */
  peers?: Peers
  certainty?: Certainty
  guard: AddressGuard
  links: FileLinksOptions
  memory: Memory
  log: Logger
}>

export function createLeaderApp({
  config,
  machine,
  actors,
  own,
  node,
  templatesElsewhere = () => [],
  machines,
  nodes,
  holder,
  records,
  database,
  children,
  peers,
  certainty,
  guard,
  links,
  memory,
  log,
}: LeaderAppOptions) {
  const { data, wan } = config
  const isCertain = certainty?.isCertain ?? (() => true)
  const { checks, downloads, previews, uploads, measured, metrics, observe } = machine
  return createApp({
    actors,
    access: { ...accessOf(config), links },
    machines,
    nodes,
    tasks: [
      {
        ...{ task: wan.task, checkpoint: wan.ckptDir, node },
        template: own.actors.template,
        elsewhere: templatesElsewhere,
      },
    ],
    files: {
      resultsDir: data.resultsDir,
      previewsDir: data.previewsDir,
      dashboardDir,
      logPath: (jobId) => logOf(data, jobId),
      ...{ previews, uploads, downloads, videoFiles: machine.videoFiles },
      ...(holder && { holder }),
    },
    limits: {
      maxFrames: config.maxFrames,
      cancelWithinMs: cancelWaitOf(config) + afterGraceMs,
      heartbeatMs: config.heartbeatMs,
      syncWaitMs: config.syncWaitMs,
      retentionMs: config.retention.retentionMs,
    },
    status: {
      version,
      task: wan.task,
      node,
      checks: () => (isCertain() ? machine.standing() : doubting(machine.standing())),
      children,
      history: records.stores.history,
      async scrape() {
        const { queue, webhooks } = actors
        const { members } = nodes
        const whole = { queue, webhooks, machines, members, databaseBytes: database.bytes }
        const sources = {
          ...{ children, measured, checks: checks.standing },
          ...(isCertain() && { whole }),
        }
        return metrics.expose(await readFigures(sources))
      },
      ...(certainty && { certainty }),
    },
    memory,
    ...(peers && { peers }),
    refuseUrl: guard.refuse,
    refuseNegativePrompt: createNegativePromptRefusal(wan),
    observe,
    log,
  })
}

/** The latest look at the database may be older than the doubt. */
const doubting = (checks: readonly StandingCheck[]): readonly StandingCheck[] =>
  checks.map((check) =>
    check.name === 'database'
      ? { ...check, ok: false, detail: 'It does not confirm that this node leads.', ageMs: 0 }
      : check,
  )

/** `readKey`: that of links, which only clients with tokens need. */
export const linksOf = (
  { baseUrl, clients, fileUrlTtlS: lifeS }: Config,
  readKey: () => Buffer,
): FileLinksOptions => ({ baseUrl, key: clients.length > 0 ? readKey() : undefined, lifeS })

export const dashboardDir = join(root, 'dist', 'dashboard')

/** Who may use this node, and under which names. */
export const accessOf = (config: Config) => ({
  clients: config.clients,
  trustedProxies: config.trustedProxies,
  corsOrigins: config.corsOrigins,
  // A page of another name has no token to show.
  ownHosts: config.clients.length === 0 ? ownHosts(config) : undefined,
})

const ownHosts = ({ host, baseUrl, allowedHosts: allowed }: Config) => ({ host, baseUrl, allowed })
