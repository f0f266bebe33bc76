/** Backups on a thread and a connection of their own, so that neither requests nor commits wait. */
import { extname, join } from 'node:path'
import { Worker } from 'node:worker_threads'

export type BackUpOrder = Readonly<{ path: string; to: string }>

const script = join(import.meta.dirname, `backup-worker${extname(import.meta.filename)}`)

export function backUpOnThread(order: BackUpOrder): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const worker = new Worker(script, { workerData: order })
  worker.on('error', reject)
  worker.on('exit', (code) =>
    code === 0 ? resolve() : reject(new Error(`the backup thread ended with code ${code}`)),
  )
  return promise
}
