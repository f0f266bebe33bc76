import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { createPlace } from '../../src/actors/actor.ts'
import type { Observe } from '../../src/domain/observation.ts'
import { createApp } from '../../src/http/app.ts'
import { Outgoing } from '../../src/http/fast/outgoing.ts'

/** The app as it is served, in front of nobody. */
export function anApp({
  observe = () => {},
  dashboardDir = '',
}: {
  observe?: Observe
  dashboardDir?: string
} = {}) {
  const quiet = () => {}
  const app = createApp({
    clients: [],
    trustedProxies: 0,
    corsOrigins: [],
    queue: createPlace('queue'),
    eta: createPlace('eta'),
    events: createPlace('events'),
    webhooks: createPlace('webhooks'),
    refuseUrl: () => undefined,
    supervisor: createPlace('supervisor'),
    janitor: createPlace('janitor'),
    gpus: [],
    childOf: String,
    measured: () => new Map(),
    checks: () => [],
    scrape: async () => '',
    observe,
    task: 'ti2v-5B',
    maxFrames: 121,
    cancelWithinMs: 0,
    heartbeatMs: 1_000,
    syncWaitMs: 1_000,
    links: { baseUrl: '', key: undefined, lifeS: 1 },
    resultsDir: '',
    previewsDir: '',
    previews: { of: async () => '' },
    downloads: { begin: () => () => {} },
    retentionMs: 0,
    uploads: { receive: () => Promise.reject(), discard: async () => {} },
    logPath: String,
    history: { load: async () => ({ waiting: [], busy: new Map() }), estimates: async () => [] },
    dashboardDir,
    version: '1.2.3',
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
  })
  const { request } = app
  app.request = (input, init, env, context) =>
    request(input, init, { ...nodesOwn(init), ...(env as object) }, context)
  return app
}

/** What Node would bring: some headers are put on its answer right away. */
function nodesOwn(init: RequestInit | undefined) {
  const incoming = new IncomingMessage(new Socket())
  incoming.headers = Object.fromEntries(new Headers(init?.headers))
  return { incoming, outgoing: new Outgoing(incoming) }
}

/** Every method and path that the app answers to, sorted. */
export function routesOfTheApp(): string[] {
  const { routes } = anApp()
  const own = routes.filter(({ method }) => method !== 'ALL')
  return [...new Set(own.map(({ method, path }) => `${method} ${path}`))].toSorted()
}
