/** One service in one data directory: alone on its machine, or as a node of a cluster. */
import type { CloseMode } from '../actors/queue/queue-protocol.ts'
import type { Config } from '../config/config.ts'
import { startAlone } from './alone.ts'
import type { Running, ServiceOptions, StartOptions } from './running.ts'

export type Service = Readonly<{
  /** Resolves with the URL once requests are accepted. Rejects with a message for the operator. */
  start(): Promise<string>
  /** Resolves when everything is closed. Requests are answered until the queue has closed. */
  stop(mode?: CloseMode): Promise<void>
}>

/** It can be started again after it was stopped. */
export function createService(config: Config, options: ServiceOptions): Service {
  let started: Promise<Running> | undefined

  return {
    async start() {
      if (started) throw new Error('The service has been started already.')
      started = startOne(config, { onGivenUp: () => {}, ...options })
      started.catch(() => {
        started = undefined
      })
      return (await started).url
    },
    /** During a start it waits for the end of the start. */
    async stop(mode = config.shutdown) {
      const stopping = await started
      started = undefined
      await stopping?.stop(mode)
    },
  }
}

async function startOne(config: Config, options: StartOptions): Promise<Running> {
  const { databaseUrl } = config
  if (databaseUrl === undefined) return startAlone(config, options)
  // A service without a cluster does not load it.
  const { startNode } = await import('./cluster/start-node.ts')
  return startNode(config, databaseUrl, options)
}
