import type { Contender } from './contender.ts'
import { startWorker } from './worker-process.ts'

/** No queue: a process that is told all its jobs, keeps them in memory and writes nothing down. */
const poolOf = (name: string, what: string, worker: string): Contender => ({
  name,
  async open(directory) {
    const started = await startWorker(worker, directory)
    const { run, cpu } = started
    return { what, run, cpu, close: () => started[Symbol.asyncDispose]() }
  },
})

export const pool = poolOf('bare pool of the same work', 'in memory', 'pool')

export const barePool = poolOf('bare pool of the scripts alone', 'no shim, no conversion', 'bare')
