/** Our side of the shim: talking to one, and finding out what became of it. */
import { closeSync, constants, openSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import * as v from 'valibot'
import { isExhausted } from '../../domain/failures.ts'
import type { AttemptKey, GenerationStartKind } from '../../domain/job.ts'
import { JobId } from '../../domain/job.ts'
import { readRegularFile, readRegularFileSync } from '../disk/regular-file.ts'
import { ageMsOf, bootId } from '../machine/boot-clock.ts'
import { isAlive } from './process-table.ts'
import { isShimOf, killShim } from './strays.ts'

/** What the shim leaves in `exit.json`; times are milliseconds since 1970. */
export const ShimExit = v.object({
  code: v.nullable(v.number()),
  signal: v.nullable(v.string()),
  reason: v.nullable(v.string()),
  strays: v.number(),
  unreaped: v.number(),
  startedAt: v.number(),
  endedAt: v.number(),
  maxRssKiB: v.number(),
  error: v.nullable(v.string()),
})
export type ShimExit = v.InferOutput<typeof ShimExit>

/** Shims of earlier versions say nothing of it. */
const Start = v.picklist(['cold', 'warm'])

const Hello = v.object({
  job: JobId,
  epoch: v.number(),
  worker: v.nullable(v.number()),
  startedAt: v.nullable(v.number()),
  start: v.optional(Start, 'cold'),
})
const ShimMessage = v.pipe(
  v.string(),
  v.parseJson(),
  v.union([v.object({ hello: Hello }), v.object({ exit: ShimExit })]),
)
const ExitFile = v.pipe(v.string(), v.parseJson(), ShimExit)
const SpecFile = v.pipe(v.string(), v.parseJson(), v.object({ argv: v.array(v.string()) }))

const Identity = v.object({ pid: v.number(), start: v.number() })
const StateFile = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({
    shim: Identity,
    worker: Identity,
    boot: v.string(),
    start: v.optional(Start, 'cold'),
  }),
)

export type ShimConnection = { stop(reason: string, graceMs: number): void; close(): void }

/**
 * Connects to the shim of an attempt. A socket that answers for another attempt is as good as none.
 * `onClosed` is called once, also when there is nobody to connect to.
 */
export function connectToShim(
  attemptDir: string,
  attempt: AttemptKey,
  on: {
    hello(startedAt: number | null, start: GenerationStartKind): void
    exit(exit: ShimExit): void
    closed(): void
  },
): ShimConnection {
  const { socket, done } = connectIn(attemptDir, 'ctl.sock')
  let unread = ''
  socket.setEncoding('utf8')
  socket.on('data', (text: string) => {
    const lines = (unread + text).split('\n')
    unread = lines.pop() ?? ''
    for (const line of lines) receive(line)
  })
  socket.on('error', () => {}) // 'close' follows, and that is all there is to know
  socket.on('close', () => {
    done()
    on.closed()
  })

  return {
    stop: (reason, graceMs) => socket.write(`${JSON.stringify({ op: 'stop', reason, graceMs })}\n`),
    close() {
      socket.removeAllListeners('close').on('close', done)
      socket.destroy()
    },
  }

  function receive(line: string): void {
    const parsed = v.safeParse(ShimMessage, line)
    if (!parsed.success) return
    const message = parsed.output
    if ('exit' in message) {
      on.exit(message.exit)
      return
    }
    const { job, epoch, startedAt, start } = message.hello
    if (job === attempt.jobId && epoch === attempt.epoch) on.hello(startedAt, start)
    else socket.destroy()
  }
}

/**
 * A socket's path holds 107 bytes and Node cuts a longer one without a word, so that it may reach
 * somebody else's socket. Through the directory's descriptor every path is short.
 */
function connectIn(directory: string, name: string) {
  let fd: number | undefined
  try {
    fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY)
  } catch {
    // No directory, no socket: the connection below fails and says so.
  }
  const socket = net.connect(`/proc/self/fd/${fd ?? 'none'}/${name}`)
  const done = () => {
    if (fd !== undefined) closeSync(fd)
    fd = undefined
  }
  return { socket, done }
}

export async function readExit(attemptDir: string): Promise<ShimExit | undefined> {
  const parsed = v.safeParse(ExitFile, await readText(join(attemptDir, 'exit.json')))
  return parsed.success ? parsed.output : undefined
}

/** `noFiles`: without a directory nothing was ever started. */
export type Claim = 'revoked' | 'taken' | 'noFiles'

/** Takes the attempt for ourselves, if no shim has: then none ever will begin it. */
export function revoke(attemptDir: string): Claim {
  try {
    closeSync(openSync(join(attemptDir, 'claim'), 'wx'))
    return 'revoked'
  } catch (error) {
    const { code } = error as { code?: string }
    if (code === 'EEXIST') return 'taken'
    if (code === 'ENOENT') return 'noFiles'
    throw error
  }
}

/** Command of an attempt, as its shim reads it. Undefined when there is none to read. */
export function commandIn(attemptDir: string): readonly string[] | undefined {
  try {
    return v.parse(SpecFile, readTextSync(join(attemptDir, 'spec.json'))).argv
  } catch {
    return undefined
  }
}

/**
 * Age of the worker by the clock since the boot, which nobody sets. Undefined while it is unknown,
 * and after another boot.
 */
export function workerAgeMs(attemptDir: string): number | undefined {
  try {
    const { boot, worker } = v.parse(StateFile, readTextSync(join(attemptDir, 'state.json')))
    return boot === bootId() ? ageMsOf(worker.start) : undefined
  } catch {
    return undefined
  }
}

/** How the worker was started. Undefined while that is unknown. */
export function startKindIn(attemptDir: string): GenerationStartKind | undefined {
  try {
    return v.parse(StateFile, readTextSync(join(attemptDir, 'state.json'))).start
  } catch {
    return undefined
  }
}

/** What the shim itself said, which is something only if it is broken or its Python is. */
export async function lastWordsOfShim(attemptDir: string): Promise<string> {
  const text = await readText(join(attemptDir, 'shim.log'))
  return text?.trim().split('\n').at(-1) || 'it said nothing'
}

/** `unknown`: the shim has not got so far as to say who it is. */
export type ShimLife = 'alive' | 'dead' | 'unknown'

export async function shimLife(attemptDir: string, attempt: AttemptKey): Promise<ShimLife> {
  const parsed = v.safeParse(StateFile, await readText(join(attemptDir, 'state.json')))
  if (!parsed.success) return 'unknown'
  const { boot, shim } = parsed.output
  // The generation can write to this file, and name there a process that never ends.
  const isShim = boot === bootId() && isAlive(shim) && isShimOf(shim.pid, attempt)
  return isShim ? 'alive' : 'dead'
}

/** A shim that has told its end needs some milliseconds to go. One that does not go is killed. */
export async function shimEnds(attemptDir: string, attempt: AttemptKey): Promise<void> {
  for (let tries = 0; tries < 200 && (await shimLife(attemptDir, attempt)) === 'alive'; tries++) {
    await delay(5)
  }
  await killShim(attempt)
}

/** Far more than a prompt and its command take. */
const maxFileBytes = 4 * 1024 * 1024

/** The generation can write in the same directory, and put anything in the place of a file. */
const readText = (path: string): Promise<string | undefined> =>
  readRegularFile(path, maxFileBytes).then(
    (content) => content?.toString(),
    (error: unknown) => {
      // That it could not be opened for lack of descriptors is no answer.
      if (isExhausted(error)) throw error
      return undefined
    },
  )

const readTextSync = (path: string): string | undefined =>
  readRegularFileSync(path, maxFileBytes)?.toString()
