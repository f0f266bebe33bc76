/**
 * The database thread: a worker that owns the writing connection. Commits and checkpoints wait for the
 * disk here, and the main thread goes on. Calls and transactions take turns. Calls come first: a submit
 * does not wait for the results of dozens of deliveries, each with an fsync of its own.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { createReserve } from '../../../disk/reserve.ts'
import { createBackups } from '../../../upkeep/backups.ts'
import { migrateToLatest } from '../../migrate.ts'
import { maxLockWaitMs, type OpenDatabase, openDatabase } from '../database.ts'
import { DeposedError } from '../ownership.ts'
import { createThreadCalls, type ThreadCalls, type ThreadSettings } from './thread-calls.ts'
import { toPlainError } from './thread-errors.ts'
import { monotonicMs, type ThreadMessage, type ThreadRequest } from './thread-messages.ts'

if (!parentPort) throw new Error('database-worker runs as a worker thread only')
const port = parentPort
const settings = workerData as ThreadSettings
const send = (message: ThreadMessage) => port.postMessage(message)

try {
  const database = await open()
  serve(database, createThreadCalls(database, settings))
  send({ type: 'opened' })
} catch (error) {
  send({ type: 'notOpened', error: toPlainError(error) })
  port.close()
}

async function open(): Promise<OpenDatabase> {
  const { path, mustHaveJobs, reserve, backupsDir } = settings
  const makeRoom = createReserve(reserve).release
  const database = openDatabase(path, { mustHaveJobs, makeRoom })
  try {
    await migrateToLatest(database.db, createBackups(backupsDir, database).beforeMigration)
    return database
  } catch (error) {
    await database.close()
    throw error
  }
}

type Work = () => Promise<unknown>
type Statement = Extract<ThreadRequest, { type: 'statement' }>

function serve(database: OpenDatabase, calls: ThreadCalls): void {
  const calling: Work[] = []
  const others: Work[] = []
  let isBusy = false
  /** Ends of sessions by number. */
  const sessions = new Map<number, () => void>()

  port.on('message', (request: ThreadRequest) => {
    switch (request.type) {
      case 'call':
        inTurn(calling, () => reply(request, () => callNamed(request.name)(...request.args)))
        break
      case 'statement':
        if (sessions.has(request.session)) void carryOut(request)
        else begin(request)
        break
      case 'end':
        sessions.get(request.session)?.()
        break
      case 'close':
        inTurn(others, close)
        break
    }
  })

  function inTurn(line: Work[], work: Work): void {
    line.push(work)
    void takeTurns()
  }

  async function takeTurns(): Promise<void> {
    if (isBusy) return
    isBusy = true
    for (;;) {
      const work = calling.shift() ?? others.shift()
      if (!work) break
      await work()
    }
    isBusy = false
  }

  function begin(first: Statement): void {
    const { session } = first
    const over = Promise.withResolvers<void>()
    sessions.set(session, over.resolve)
    inTurn(others, async () => {
      await carryOut(first)
      await over.promise
      sessions.delete(session)
      database.rollBack()
    })
  }

  const carryOut = (statement: Statement): Promise<void> =>
    reply(statement, () => database.run(statement.sql, statement.parameters))

  const callNamed = (name: string) =>
    calls[name as keyof ThreadCalls] as (...args: readonly unknown[]) => unknown

  async function reply(
    { id, sentAt }: Readonly<{ id: number; sentAt: number }>,
    work: () => unknown,
  ): Promise<void> {
    try {
      // The wait begins with the request: those behind a long one do not wait once more.
      database.waitForLock(maxLockWaitMs - (monotonicMs() - sentAt))
      send({ type: 'done', id, result: await work() })
    } catch (error) {
      const plain = toPlainError(error)
      if (error instanceof DeposedError) send({ type: 'deposed', error: plain })
      else send({ type: 'failed', id, error: plain })
    }
  }

  async function close(): Promise<void> {
    await database.close()
    port.close()
  }
}
