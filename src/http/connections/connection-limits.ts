/** How many connections fit. */
import type { ConnectionLimits } from './connection-rules.ts'

/** More than clients of a few GPUs need, and some 50 MB when all of them are idle. */
const mostConnections = 2_000

/** Enough for an operator to look what is wrong, where there is hardly room for anything. */
const fewestConnections = 16

/** As long as nginx waits by default (`send_timeout`); longer than a mobile line pauses. */
const maxStallMs = 60_000

/** Beside some 100 MB of the service, and what is garbage for a while: it stays under 300 MB, whatever clients do. */
const maxHeldBytes = 32 * 1024 * 1024

/** Descriptors of Node, the database, the log, tools and uploads. */
const filesOfService = 96

/** Of a generation and its conversion: the socket of its shim, its logs, pipes. */
const filesPerGpu = 16

/** A connection that receives a video has the file open as well. */
const filesPerConnection = 2

export type LimitsOptions = Readonly<{
  /** RLIMIT_NOFILE: open files that this process may have. */
  maxFiles: number
  gpus: number
  /** Proxies in front: then all connections come from few addresses. */
  trustedProxies: number
}>

/** Connections never use the descriptors that running jobs need. */
export function connectionLimits({
  maxFiles,
  gpus,
  trustedProxies,
}: LimitsOptions): ConnectionLimits {
  const free = maxFiles - filesOfService - filesPerGpu * gpus
  const fitting = Math.floor(free / filesPerConnection)
  const maxConnections = Math.max(fewestConnections, Math.min(mostConnections, fitting))
  const maxPerAddress = trustedProxies > 0 ? maxConnections : Math.ceil(maxConnections / 2)
  return { maxConnections, maxPerAddress, maxStallMs, maxHeldBytes }
}
