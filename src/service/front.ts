/** The HTTP server of the service, whose app may be replaced while it runs. */
import type { Config } from '../config/config.ts'
import type { Logger } from '../domain/log.ts'
import type { Observe } from '../domain/observation.ts'
import { connectionLimits } from '../http/connections/connection-limits.ts'
import type { Answering } from '../http/forwarding/node-routes.ts'
import type { Peers } from '../http/peers/peers.ts'
import type { Memory } from '../http/request/lane.ts'
import { readFileLimit } from '../infra/machine/file-limit.ts'
import type { Gpu } from '../infra/machine/gpus.ts'
import { type HttpServer, listen } from './http-server.ts'

/** Fewer are a sign of a limit that nobody chose. */
const fewConnections = 400

const loopback = /^(127\.|::1$|::ffff:127\.)/

export type FrontOptions = Readonly<{
  config: Config
  /** Those that get jobs. */
  gpus: readonly Gpu[]
  memory: Memory
  /** Other nodes of the cluster; absent: there are none. */
  peers?: Peers
  observe: Observe
  log: Logger
}>

/** Resolves when requests are accepted. Rejects with a message for the operator. */
export async function openFront(
  app: Answering,
  { config, gpus, memory, peers, observe, log }: FrontOptions,
  resources: AsyncDisposableStack,
): Promise<HttpServer & Readonly<{ serve(next: Answering): void }>> {
  let current = app
  const { host, port, trustedProxies } = config
  const limits = connectionLimits({
    maxFiles: readFileLimit(),
    gpus: gpus.length,
    trustedProxies,
  })
  const handler: Answering = { fetch: (request, bindings) => current.fetch(request, bindings) }
  const server = await listen(handler, {
    ...{ host, port, limits, memory, observe, log },
    ...(peers && { isPeer: peers.isPeer }),
  }).catch((error: unknown) => {
    log.error({ err: error }, 'the address cannot be used; set HOST or PORT to another')
    throw error
  })
  resources.defer(server.close)
  if (limits.maxConnections < fewConnections)
    log.warn(limits, 'few open files are allowed; raise the limit (ulimit -n, LimitNOFILE)')
  return {
    ...server,
    serve(next) {
      current = next
    },
  }
}

export function announce(
  { url, address }: HttpServer,
  { dataDir, clients }: Config,
  gpus: readonly Gpu[],
  log: Logger,
): void {
  log.info({ url, gpus: gpus.map(({ id }) => id), dataDir }, 'listening')
  if (!loopback.test(address) && clients.length === 0) {
    log.warn({ url }, 'others can reach this address, and nobody is asked for a token')
  }
}
