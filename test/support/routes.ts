import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { type ActorRef, createPlace } from '../../src/actors/actor.ts'
import type { ArchiveMessage } from '../../src/actors/archive/archive-protocol.ts'
import type { EventMessage } from '../../src/actors/event/event-protocol.ts'
import type { QueueMessage } from '../../src/actors/queue/queue-protocol.ts'
import type { TokenHolder } from '../../src/domain/client.ts'
import type { NodeName } from '../../src/domain/node.ts'
import type { Observe } from '../../src/domain/observation.ts'
import { type AppOptions, createApp } from '../../src/http/app.ts'
import { Outgoing } from '../../src/http/fast/outgoing.ts'
import type { Peers } from '../../src/http/peers/peers.ts'
import type { Certainty } from '../../src/http/request/certainty.ts'
import type { OwnHosts } from '../../src/http/request/hosts.ts'
import { type Access, descriptionOf } from '../../src/http/request/route.ts'
import type { TaskRoutesOptions } from '../../src/http/routes/task-routes.ts'
import type { Nodes } from '../../src/http/views/node-view.ts'

/** The app as it is served, in front of nobody. */
export function anApp({
  observe = () => {},
  dashboardDir = '',
  ownHosts,
  tasks = [],
  nodes = { members: () => [], remove: (_, letGo) => letGo() },
  queue = createPlace('queue'),
  clients = [],
  peers,
  archive = createPlace('archive'),
  files = {},
  certainty,
  events = createPlace('events'),
}: {
  observe?: Observe
  dashboardDir?: string
  ownHosts?: OwnHosts | undefined
  tasks?: TaskRoutesOptions['tasks']
  nodes?: Nodes
  queue?: ActorRef<QueueMessage>
  clients?: readonly TokenHolder[]
  peers?: Peers
  archive?: ActorRef<ArchiveMessage>
  files?: Partial<AppOptions['files']>
  certainty?: Certainty
  events?: ActorRef<EventMessage>
} = {}) {
  const quiet = () => {}
  const app = createApp({
    actors: {
      queue,
      archive,
      eta: createPlace('eta'),
      events,
      webhooks: createPlace('webhooks'),
      janitor: createPlace('janitor'),
    },
    access: {
      clients,
      trustedProxies: 0,
      corsOrigins: [],
      ownHosts,
      links: { baseUrl: '', key: undefined, lifeS: 1 },
    },
    machines: {
      gpus: () => [],
      nodeOf: () => undefined,
      look: async () => [],
      restart: async () => 'no_such_child',
    },
    nodes,
    tasks,
    files: {
      resultsDir: '',
      previewsDir: '',
      dashboardDir,
      previews: { of: async () => '' },
      downloads: { begin: () => () => {} },
      videoFiles: { find: async () => 'own' },
      uploads: { receive: () => Promise.reject(), discard: async () => {} },
      logPath: String,
      ...files,
    },
    limits: {
      maxFrames: 121,
      cancelWithinMs: 0,
      heartbeatMs: 1_000,
      syncWaitMs: 1_000,
      retentionMs: 0,
    },
    status: {
      version: '1.2.3',
      task: 'ti2v-5B',
      node: 'local' as NodeName,
      checks: () => [],
      children: async () => [],
      history: {
        load: async () => ({ waiting: [], busy: new Map() }),
        loadingCost: async () => ({
          ...{ cold: { starts: 0, ms: 0 }, warm: { starts: 0, ms: 0 } },
          ...{ coldRuns: 0, unknown: 0 },
        }),
        estimates: async () => [],
      },
      scrape: async () => '',
      ...(certainty && { certainty }),
    },
    memory: { isShort: () => false },
    ...(peers && { peers }),
    refuseUrl: () => undefined,
    refuseNegativePrompt: () => undefined,
    observe,
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
  })
  const { request } = app
  app.request = (input, init, env, context) => request(input, init, nodesOwn(init, env), context)
  return app
}

/** What Node would bring: some headers are put on its answer right away. `changed`: fields of the request. */
function nodesOwn(init: RequestInit | undefined, changed: object = {}) {
  const incoming = new IncomingMessage(new Socket())
  incoming.headers = Object.fromEntries(new Headers(init?.headers))
  Object.assign(incoming, changed)
  return { incoming, outgoing: new Outgoing(incoming) }
}

/** Every method and path that the app answers to, sorted. */
export const routesOfTheApp = (): string[] => [...accessOfTheApp().keys()].toSorted()

/** Each route, `GET /jobs`, with the role that its description requires. */
export function accessOfTheApp(): ReadonlyMap<string, Access | undefined> {
  const own = anApp().routes.filter(({ method }) => method !== 'ALL')
  const handlers = Map.groupBy(own, ({ method, path }) => `${method} ${path}`)
  return new Map(
    [...handlers].map(([route, [first]]) => [route, first && descriptionOf(first.handler)?.access]),
  )
}
