/** The database thread as the main thread sees it: calls, their results, and its end. */
import { extname, join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { StatementResult } from '../database.ts'
import type { ThreadCalls, ThreadSettings } from './thread-calls.ts'
import { toError } from './thread-errors.ts'
import { monotonicMs, type ThreadMessage, type ThreadRequest } from './thread-messages.ts'

/** Both as source and built, the worker has the same kind of file as this module. */
const ownScript = join(import.meta.dirname, `database-worker${extname(import.meta.filename)}`)

/** New objects of a commit are soon garbage. The default takes more memory, and is no faster. */
const resourceLimits = { maxYoungGenerationSizeMb: 8 }

export type DatabaseThread = Awaited<ReturnType<typeof startThread>>

type Pending = Readonly<{ resolve(result: unknown): void; reject(error: Error): void }>

/** Resolves when the database is open. `onLost` is called once at most, and not for an orderly end. */
export async function startThread(
  settings: ThreadSettings,
  onLost: (error: Error) => void,
  script = ownScript,
) {
  const worker = new Worker(script, { workerData: settings, resourceLimits })
  const pending = new Map<number, Pending>()
  const opening = Promise.withResolvers<void>()
  const ended = Promise.withResolvers<void>()
  let lastId = 0
  let phase: 'opening' | 'open' | 'closing' | 'lost' = 'opening'
  let gone = new Error('the database is closed')

  worker.on('message', hear)
  worker.on('messageerror', lose)
  worker.on('error', lose)
  worker.on('exit', (code) => {
    lose(new Error(`the database thread ended with code ${code}`))
    ended.resolve()
  })
  await opening.promise
  return { call, run, end, close }

  function hear(message: ThreadMessage): void {
    switch (message.type) {
      case 'opened':
        phase = 'open'
        opening.resolve()
        break
      case 'notOpened':
        lose(toError(message.error))
        break
      case 'done':
        take(message.id)?.resolve(message.result)
        break
      case 'failed':
        take(message.id)?.reject(toError(message.error))
        break
      case 'deposed':
        lose(toError(message.error))
        break
    }
  }

  function take(id: number): Pending | undefined {
    const one = pending.get(id)
    pending.delete(id)
    return one
  }

  function lose(error: Error): void {
    const before = phase
    if (before === 'lost') return
    phase = 'lost'
    if (before !== 'closing') gone = error
    for (const { reject } of pending.values()) reject(error)
    pending.clear()
    if (before === 'opening') opening.reject(error)
    if (before === 'open') onLost(error)
  }

  function call<Name extends keyof ThreadCalls>(
    name: Name,
    ...args: Parameters<ThreadCalls[Name]>
  ): ReturnType<ThreadCalls[Name]> {
    const result = request((id) => ({ type: 'call', id, name, args, sentAt: monotonicMs() }))
    // The thread answers each call with the result of the function of that name.
    return result as ReturnType<ThreadCalls[Name]>
  }

  function run(
    session: number,
    sql: string,
    parameters: readonly unknown[],
  ): Promise<StatementResult> {
    const result = request((id) => ({
      ...{ type: 'statement', id, session, sql, parameters },
      sentAt: monotonicMs(),
    }))
    return result as Promise<StatementResult>
  }

  function end(session: number): void {
    post({ type: 'end', session })
  }

  function request(describe: (id: number) => ThreadRequest): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (phase !== 'open') {
        reject(gone)
        return
      }
      const id = ++lastId
      post(describe(id))
      pending.set(id, { resolve, reject })
    })
  }

  function post(request: ThreadRequest): void {
    worker.postMessage(request)
  }

  async function close(): Promise<void> {
    if (phase === 'open') phase = 'closing'
    post({ type: 'close' })
    await ended.promise
  }
}
