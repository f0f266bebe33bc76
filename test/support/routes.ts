import { createPlace } from '../../src/actors/actor.ts'
import { createApp } from '../../src/http/app.ts'

/** Every method and path that the app answers to, sorted; none of its parts is asked anything. */
export function routesOfTheApp(): string[] {
  const quiet = () => {}
  const { routes } = createApp({
    clients: [],
    trustedProxies: 0,
    corsOrigins: [],
    queue: createPlace('queue'),
    eta: createPlace('eta'),
    events: createPlace('events'),
    webhooks: createPlace('webhooks'),
    refuseUrl: () => undefined,
    supervisor: createPlace('supervisor'),
    gpus: [],
    childOf: String,
    measured: () => new Map(),
    installation: async () => [],
    task: 'ti2v-5B',
    maxFrames: 121,
    cancelWithinMs: 0,
    heartbeatMs: 1_000,
    links: { baseUrl: '', key: undefined, lifeS: 1 },
    resultsDir: '',
    previewsDir: '',
    previews: { of: async () => '' },
    uploads: { receive: () => Promise.reject(), discard: async () => {} },
    logPath: String,
    version: '',
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
  })
  const own = routes.filter(({ method }) => method !== 'ALL')
  return [...new Set(own.map(({ method, path }) => `${method} ${path}`))].toSorted()
}
