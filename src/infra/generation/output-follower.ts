import {
  appendFileSync,
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Evidence } from './failure.ts'
import type { OutputReader, OutputStream } from './output-reader.ts'

/** How often a growing output is looked at. */
const pollMs = 200

/** How much is read before others get their turn. */
const chunkBytes = 256 * 1024

/** A log is for people: past this only the end of an attempt's output is worth having. */
const longestLogBytes = 16 * 1024 * 1024

export type OutputFollower = {
  /** Once nothing more will be written: reads the rest and tells what the whole says. */
  finish(): Promise<Evidence>
  stop(): void
}

/**
 * Follows the two output files of an attempt: into the reader, and as plain lines into the job's log.
 *
 * Where this attempt begins in the log is kept beside the output. Whoever takes the attempt up later
 * cuts the log there and reads all over again, so that nothing is missing and nothing stands twice.
 */
export function followOutput(options: {
  attemptDir: string
  logPath: string
  /** First line of this attempt in the log. */
  title: string
  reader: OutputReader
  onRead(): void
  onError(error: unknown): void
}): OutputFollower {
  const { attemptDir, logPath, title, reader, onRead, onError } = options
  const log = continueLog(attemptDir, logPath, onError)
  log.append([title])
  const files = {
    stdout: createGrowingFile(join(attemptDir, 'stdout.log')),
    stderr: createGrowingFile(join(attemptDir, 'stderr.log')),
  }
  let stopped = false
  let timer: NodeJS.Timeout | undefined
  let reading = poll()

  return {
    async finish() {
      clearTimeout(timer)
      await reading
      clearTimeout(timer)
      await readAll()
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

  async function poll(): Promise<void> {
    await readAll()
    if (stopped) return
    onRead()
    timer = setTimeout(() => {
      reading = poll()
    }, pollMs)
  }

  /** An output that cannot be read makes a job without progress, not a job without an end. */
  async function readAll(): Promise<void> {
    try {
      for (const stream of ['stdout', 'stderr'] as const) await readStream(stream)
    } catch (error) {
      onError(error)
    }
  }

  async function readStream(stream: OutputStream): Promise<void> {
    while (!stopped) {
      const chunk = files[stream].read()
      if (!chunk) return
      log.append(reader.feed(stream, chunk))
      // Much output is many turns, not one long one.
      await new Promise(setImmediate)
    }
  }

  function close(): void {
    files.stdout.close()
    files.stderr.close()
  }
}

function createGrowingFile(path: string) {
  let buffer: Buffer | undefined
  let fd: number | undefined
  let position = 0
  return {
    /** What is new, at most a chunk of it; nothing if there is none. Good until the next call. */
    read(): Uint8Array | undefined {
      if (fd === undefined && !existsSync(path)) return undefined
      fd ??= openSync(path, 'r')
      buffer ??= Buffer.allocUnsafe(chunkBytes)
      const length = readSync(fd, buffer, 0, chunkBytes, position)
      position += length
      return length === 0 ? undefined : buffer.subarray(0, length)
    },
    close(): void {
      if (fd !== undefined) closeSync(fd)
      fd = undefined
    },
  }
}

/** A log that cannot be written is reported and left; the job goes on. */
function continueLog(attemptDir: string, path: string, onError: (error: unknown) => void) {
  const beginFile = join(attemptDir, 'log-begin')
  let room = longestLogBytes
  attempt(() => {
    const size = existsSync(path) ? statSync(path).size : 0
    if (!existsSync(beginFile)) writeFileSync(beginFile, String(size))
    else truncateSync(path, Math.min(size, Number(readFileSync(beginFile, 'utf8'))))
  })

  return {
    append(lines: readonly string[]): void {
      if (lines.length === 0 || room <= 0) return
      const text = `${lines.join('\n')}\n`
      room -= text.length
      attempt(() => appendFileSync(path, room > 0 ? text : '[the rest is too long for this log]\n'))
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
