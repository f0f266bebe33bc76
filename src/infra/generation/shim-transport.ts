import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { attemptDirectory, type DataDirectory } from '../disk/data-directory.ts'
import type { ForkServer } from '../processes/fork-server.ts'
import {
  commandIn,
  connectToShim,
  killShim,
  lastWordsOfShim,
  readExit,
  revoke,
  shimEnds,
  shimLife,
  workerAgeMs,
} from '../processes/shim-client.ts'
import { killStrays } from '../processes/strays.ts'
import type { Transport } from './attempt/transport.ts'
import { commandOfAttempt, environmentFor, type WanSetup } from './command.ts'

export type ShimTransportOptions = Readonly<{
  data: Pick<DataDirectory, 'workDir'>
  wan: WanSetup
  /** Value of CUDA_VISIBLE_DEVICES. */
  device: string
  env: NodeJS.ProcessEnv
  forkServer: Pick<ForkServer, 'startShim'>
}>

/** Starts `generate.py` cold, in a process and a shim for each attempt. */
export function createShimTransport({
  data,
  wan,
  device,
  env,
  forkServer,
}: ShimTransportOptions): Transport {
  const explained = (why: string) => `${why} (WAN_PYTHON is ${wan.python})`

  return (order) => {
    const attemptDir = attemptDirectory(data, order)
    return {
      async start() {
        try {
          mkdirSync(attemptDir, { recursive: true })
          const argv = commandOfAttempt(data, wan, order)
          const spec = { job: order.jobId, epoch: order.epoch, argv, cwd: wan.wanDir }
          writeFileSync(join(attemptDir, 'spec.json'), JSON.stringify(spec))
          const end = await forkServer.startShim(attemptDir, environmentFor(env, device))
          return end.how === 'cannotStart' ? { ...end, why: explained(end.why) } : end
        } catch (error) {
          const why = error instanceof Error ? error.message : String(error)
          return { how: 'cannotStart', why: explained(why) }
        }
      },
      connect: (on) => connectToShim(attemptDir, order, on),
      exit: () => readExit(attemptDir),
      revoke: () => revoke(attemptDir),
      life: () => shimLife(attemptDir),
      ageMs: () => workerAgeMs(attemptDir),
      command: () => commandIn(attemptDir),
      hasFiles: () => existsSync(attemptDir),
      whyNothingStarted: async () =>
        explained(`The shim failed: ${await lastWordsOfShim(attemptDir)}`),
      killWorkers: () => killStrays(order),
      killShim: () => killShim(attemptDir),
      shimEnds: () => shimEnds(attemptDir),
    }
  }
}
