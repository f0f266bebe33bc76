import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { attemptDirectory, type DataDirectory } from '../disk/data-directory.ts'
import type { ShimEnd } from '../processes/fork-server.ts'
import {
  commandIn,
  connectToShim,
  lastWordsOfShim,
  readExit,
  revoke,
  shimEnds,
  shimLife,
  startKindIn,
  workerAgeMs,
} from '../processes/shim-client.ts'
import {
  attemptMark,
  killAttempts,
  killShim,
  killStrays,
  type Strays,
} from '../processes/strays.ts'
import type { Transport } from './attempt/transport.ts'
import { commandOfAttempt, environmentFor, type WanSetup } from './command.ts'
import type { GenerationStarter } from './warm-starts.ts'

export type ShimTransportOptions = Readonly<{
  data: Pick<DataDirectory, 'workDir'>
  wan: WanSetup
  /** Value of CUDA_VISIBLE_DEVICES. */
  device: string
  env: NodeJS.ProcessEnv
  starter: Pick<GenerationStarter, 'startShim'>
}>

const noSuchFile = /ENOENT|No such file or directory/

/** The fork server reports the end of a shim by then, with descendants that are not recognized here. */
const maxSweepMs = 5_500

/** Starts `generate.py`, in a process and a shim for each attempt. */
export function createShimTransport({
  data,
  wan,
  device,
  env,
  starter,
}: ShimTransportOptions): Transport {
  const explained = (why: string) => `${why} (WAN_PYTHON is ${wan.python})`

  return (order) => {
    const attemptDir = attemptDirectory(data, order)
    /** Somebody else has removed the directory meanwhile: nothing is wrong with the setup. */
    const cannotStart = (why: string): ShimEnd =>
      noSuchFile.test(why) && !existsSync(attemptDir)
        ? { how: 'unwatched' }
        : { how: 'cannotStart', why: explained(why) }
    let shimEnd: Promise<ShimEnd | undefined> = Promise.resolve(undefined)
    return {
      async start() {
        try {
          mkdirSync(attemptDir, { recursive: true })
          const argv = commandOfAttempt(data, wan, order)
          const { jobId: job, epoch } = order
          const spec = { job, epoch, argv, cwd: wan.wanDir, mark: attemptMark(order) }
          writeAfresh(join(attemptDir, 'spec.json'), JSON.stringify(spec))
          rmSync(join(attemptDir, 'shim.log'), { recursive: true, force: true })
          const ended = starter.startShim(attemptDir, environmentFor(env, device))
          shimEnd = ended
          const end = await ended
          return end.how === 'cannotStart' ? cannotStart(end.why) : end
        } catch (error) {
          return cannotStart(error instanceof Error ? error.message : String(error))
        }
      },
      connect: (on) => connectToShim(attemptDir, order, on),
      exit: () => readExit(attemptDir),
      revoke: () => revoke(attemptDir),
      life: () => shimLife(attemptDir, order),
      ageMs: () => workerAgeMs(attemptDir),
      startKind: () => startKindIn(attemptDir),
      command: () => commandIn(attemptDir),
      hasFiles: () => existsSync(attemptDir),
      whyNothingStarted: async () =>
        explained(`The shim failed: ${await lastWordsOfShim(attemptDir)}`),
      killWorkers: () => killStrays(order),
      killShim: () => killShim(order),
      async clear(): Promise<Strays> {
        const { found, survivors } = await killAttempts([order])
        const end = await Promise.race([shimEnd, delay(maxSweepMs, undefined, { ref: false })])
        const unreaped = end?.how === 'ended' ? end.unreaped : 0
        return { found, survivors: Math.max(survivors, unreaped) }
      },
      shimEnds: () => shimEnds(attemptDir, order),
    }
  }
}

/** An earlier attempt can write here, too: a FIFO of this name would hold us up for ever. */
function writeAfresh(path: string, text: string): void {
  rmSync(path, { recursive: true, force: true })
  writeFileSync(path, text, { flag: 'wx' })
}
