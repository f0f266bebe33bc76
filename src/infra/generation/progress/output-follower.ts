import { closeSync, fstatSync, lstatSync, readSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Timestamp } from '../../../domain/job.ts'
import { eventsOf } from '../../disk/data-directory.ts'
import {
  appendRegularFileSync,
  openRegularFileSync,
  readRegularFileSync,
} from '../../disk/regular-file.ts'
import type { AttemptClock } from '../attempt/attempt-clock.ts'
import type { Evidence } from './failure.ts'
import type { GenerationReader, GenerationStream } from './generation-reader.ts'

/** How often a growing output is looked at. */
const pollMs = 200

/** How much is read before others get their turn. */
const chunkBytes = 256 * 1024

/** Of each file between two looks: a script that prints without end must not keep us busy. */
const maxPollBytes = 1024 * 1024

/** Of each file at once, when the attempt is adopted and when it ends: more than a file may have. */
const maxBacklogBytes = 64 * 1024 * 1024

/** Far more than the launcher writes; the script can write there too. */
const maxEventsBytes = 16 * 1024 * 1024

/** Up to here a file keeps everything (`HEAD_BYTES` in shim_output.py). What follows may be left out. */
export const headBytes = 16 * 1024 * 1024

/** A log is for people: past this only the end of an attempt's output is worth having. */
const maxLogBytes = 16 * 1024 * 1024

/** A number of bytes, written by us. */
const maxBeginBytes = 32

export type OutputFollower = {
  /** Once nothing more will be written: reads the rest and tells what the whole says. */
  finish(): Promise<Evidence>
  stop(): void
}

/** In this order, so that what the launcher tells is never older than what the script writes. */
const streams = ['stdout', 'stderr', 'events'] as const

/**
 * Follows the output files of an attempt: into the reader, and as plain lines into the job's log.
 *
 * Where this attempt begins in the log is kept beside the output. Whoever takes the attempt up later
 * cuts the log there and reads all over again, so that nothing is missing and nothing stands twice.
 */
export function followOutput(options: {
  attemptDir: string
  logPath: string
  /** First line of this attempt in the log. */
  title: string
  reader: GenerationReader
  clock: Pick<AttemptClock, 'now' | 'place'>
  onRead(): void
  onError(error: unknown): void
}): OutputFollower {
  const { attemptDir, logPath, title, reader, clock, onRead, onError } = options
  const log = continueLog(attemptDir, logPath, onError)
  log.append([title])
  const files = {
    stdout: createGrowingFile(join(attemptDir, 'stdout.log'), clock),
    stderr: createGrowingFile(join(attemptDir, 'stderr.log'), clock),
    events: createGrowingFile(eventsOf(attemptDir), clock, maxEventsBytes),
  }
  const reported = new Set<string>()
  let stopped = false
  let timer: NodeJS.Timeout | undefined
  let reading = poll(maxBacklogBytes)

  return {
    async finish() {
      clearTimeout(timer)
      await reading
      clearTimeout(timer)
      await readAll(maxBacklogBytes)
      log.append(reader.end())
      onRead()
      close()
      return reader.evidence
    },
    stop() {
      stopped = true
      clearTimeout(timer)
      void reading.then(close)
    },
  }

  async function poll(maxBytes: number): Promise<void> {
    await readAll(maxBytes)
    if (stopped) return
    onRead()
    timer = setTimeout(() => {
      reading = poll(maxPollBytes)
    }, pollMs)
  }

  /**
   * An output that cannot be read makes a job without progress, not a job without an end. It keeps
   * nothing of the other outputs away, and is reported once.
   */
  async function readAll(maxBytes: number): Promise<void> {
    for (const stream of streams) {
      try {
        await readStream(stream, maxBytes)
      } catch (error) {
        const why = String(error)
        if (reported.has(why)) continue
        reported.add(why)
        onError(error)
      }
    }
  }

  async function readStream(stream: GenerationStream, maxBytes: number): Promise<void> {
    for (let left = maxBytes; left > 0 && !stopped; ) {
      const chunk = files[stream].read()
      if (!chunk) return
      left -= chunk.bytes.length
      log.append(reader.feed(stream, chunk.bytes, chunk.writtenAt, chunk.more))
      // Much output is many turns, not one long one.
      await new Promise(setImmediate)
    }
  }

  function close(): void {
    for (const stream of streams) files[stream].close()
  }
}

function createGrowingFile(
  path: string,
  clock: Pick<AttemptClock, 'now' | 'place'>,
  maxBytes = Number.POSITIVE_INFINITY,
) {
  let buffer: Buffer | undefined
  let fd: number | undefined
  let position = 0
  return {
    /**
     * What is new, at most a chunk of it; nothing if there is none. Good until the next call. The
     * length and the time are asked for first: what is written meanwhile is for the next call.
     */
    read(): { bytes: Uint8Array; writtenAt: Timestamp; more: boolean } | undefined {
      fd ??= openRegularFileSync(path)
      if (fd === undefined) return undefined
      const { size, mtimeMs } = fstatSync(fd)
      // The shim has left something out, behind what is always kept.
      if (size < position) position = Math.min(size, headBytes)
      // Of a file full of holes, which holds more than the shim writes, the end is read.
      position = Math.max(position, size - maxBacklogBytes)
      if (size <= position || position >= maxBytes) return undefined
      buffer ??= Buffer.allocUnsafe(chunkBytes)
      const length = readSync(fd, buffer, 0, Math.min(chunkBytes, size - position), position)
      position += length
      if (length === 0) return undefined
      const writtenAt = Math.min(clock.place(Math.round(mtimeMs)), clock.now())
      return { bytes: buffer.subarray(0, length), writtenAt, more: position < size }
    },
    close(): void {
      if (fd !== undefined) closeSync(fd)
      fd = undefined
    },
  }
}

/** A log that cannot be written is reported and left; the job goes on. */
function continueLog(attemptDir: string, path: string, onError: (error: unknown) => void) {
  let room = maxLogBytes
  attempt(() => cutLog(join(attemptDir, 'log-begin'), path))

  return {
    append(lines: readonly string[]): void {
      if (lines.length === 0 || room <= 0) return
      const text = `${lines.join('\n')}\n`
      room -= text.length
      attempt(() =>
        appendRegularFileSync(path, room > 0 ? text : '[the rest is too long for this log]\n'),
      )
    },
  }

  function attempt(write: () => void): void {
    try {
      write()
    } catch (error) {
      room = 0
      onError(error)
    }
  }
}

/** Cuts the log where this attempt began to write, or notes where it begins. */
function cutLog(beginFile: string, path: string): void {
  appendRegularFileSync(path, '')
  const { size } = lstatSync(path)
  const begin = readRegularFileSync(beginFile, maxBeginBytes)?.toString()
  if (begin === undefined) writeFileSync(beginFile, String(size), { flag: 'wx' })
  // An earlier attempt's lines are not this attempt's to remove, whatever it has written there.
  else if (/^\d+$/.test(begin)) truncateSync(path, Math.min(size, Number(begin)))
}
