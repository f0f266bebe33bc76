/** Our side of `worker.ts`: the process that does the jobs of a queue. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { cpuOf } from '../../process-cpu.ts'
import type { Connection } from './peers.ts'

export async function startWorker(queue: string, directory: string, connection?: Connection) {
  const script = join(import.meta.dirname, 'worker.ts')
  const env = { ...process.env, QUEUE_CONNECTION: JSON.stringify(connection ?? {}) }
  const child = fork(script, [queue, directory], { env })
  const failed = once(child, 'exit').then(([code]) => {
    throw new Error(`the worker of ${queue} ended with exit code ${code}`)
  })
  failed.catch(() => {})
  const answer = () => Promise.race([once(child, 'message'), failed])
  await answer()

  return {
    /** Rejects when the worker ends: nobody does its jobs any more. */
    failed,
    /** Only a pool is told its jobs by us. */
    async run(jobs: readonly number[]): Promise<void> {
      child.send(jobs)
      await answer()
    },
    cpu: () => cpuOf(child.pid ?? 0),
    async [Symbol.asyncDispose](): Promise<void> {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    },
  }
}
