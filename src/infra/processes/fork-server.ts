/** Our side of `fork_server.py`: the small process that starts others, because we are slow at it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import * as v from 'valibot'
import type { StartTool, ToolEnd } from './tool.ts'

/** What became of a shim. `unwatched`: whoever could have told has ended first. */
export type ShimEnd =
  | { how: 'cannotStart'; why: string }
  | { how: 'ended'; signal: string | null }
  | { how: 'unwatched' }

export type ForkServer = Readonly<{
  /** Starts it before it is needed. Whenever it is needed and not there, it is started again. */
  warmUp(): void
  /** Starts a shim that outlives us and the fork server. Resolves when it has ended. */
  startShim(attemptDir: string, env: NodeJS.ProcessEnv): Promise<ShimEnd>
  /** Starts a tool; one that nobody watches any more is killed, and so it ended. */
  startTool: StartTool
  /** The shims stay. */
  close(): Promise<void>
}>

const script = join(import.meta.dirname, 'fork_server.py')

/** Room for what `ps` is to show of a shim: its own command line. */
const room = ' '.repeat(1_000)

/** To fork takes a millisecond: when there is no answer by then, something holds it up for good. */
const usualAnswerMs = 5_000

/** Killed so often before it was ready, it is not by chance: Python itself crashes. */
const maxStillborn = 5

const Ready = v.object({ ready: v.literal(true) })
const Begun = v.object({ id: v.number(), pid: v.number() })
const NotBegun = v.object({ id: v.number(), error: v.nullable(v.string()), message: v.string() })
const Ended = v.object({
  id: v.number(),
  code: v.nullable(v.number()),
  signal: v.nullable(v.string()),
  stdout: v.optional(v.string(), ''),
  stderr: v.optional(v.string(), ''),
})
/** Not everything on its stdout need be: a wrapper around Python may have something to say there. */
const Said = v.pipe(v.string(), v.parseJson(), v.union([Begun, Ended, NotBegun, Ready]))

type End = ToolEnd | { how: 'unwatched'; pid: number | undefined }

export function createForkServer(python: string, { answerMs = usualAnswerMs } = {}): ForkServer {
  let server: ReturnType<typeof launch> | undefined
  let stillborn = 0
  const running = () => {
    server ??= launch(python, answerMs, ({ wasReady, wasKilled }) => {
      server = undefined
      stillborn = wasReady ? 0 : stillborn + 1
      return wasReady || (wasKilled && stillborn < maxStillborn)
    })
    return server
  }

  return {
    warmUp: () => void running(),
    startShim: (attemptDir, env) => running().start({ shim: attemptDir, env }).ended,
    startTool(argv, env) {
      const { ended, kill } = running().start({ tool: argv, env })
      return { ended: ended.then(killUnwatched), kill, leave: () => {} }
    },
    close: async () => server?.close(),
  }
}

function killUnwatched(end: End): ToolEnd {
  if (end.how !== 'unwatched') return end
  try {
    if (end.pid !== undefined) process.kill(end.pid, 'SIGKILL')
  } catch {
    // It has ended together with its pipes.
  }
  return { how: 'ended', code: null, signal: 'SIGKILL', stdout: '', stderr: '' }
}

type Running = { ends(end: End): void; overdue: NodeJS.Timeout; pid?: number }

/** Whether another try may well go through. */
type HearOfEnd = (life: { wasReady: boolean; wasKilled: boolean }) => boolean

/** One life of it. `onEnded` is called before anybody hears of what ended with it. */
function launch(python: string, answerMs: number, onEnded: HearOfEnd) {
  const child = spawn(python, ['-I', '-S', script, room], {
    // What a terminal sends to all that runs in it is not meant for what we start.
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const started = new Map<number, Running>()
  let lastId = 0
  let isReady = false
  let isOver = false
  let lastWords = ''
  child.stdin.on('error', () => {}) // It has ended, which is told by itself.
  createInterface(child.stdout).on('line', hear)
  createInterface(child.stderr).on('line', (line) => {
    lastWords = line
  })
  child.on('error', ({ message }) => end(`${python} could not be started: ${message}`, false))
  child.on('close', (code, signal) => {
    const said = lastWords || 'it said nothing'
    end(`the fork server failed (${signal ?? `exit code ${code}`}): ${said}`, signal !== null)
  })
  const say = (order: object) => child.stdin.write(`${JSON.stringify(order)}\n`)

  return {
    start(order: { shim: string; env: object } | { tool: readonly string[]; env: object }) {
      const id = ++lastId
      const ended = new Promise<End>((ends) => {
        started.set(id, { ends, overdue: setTimeout(() => child.kill('SIGKILL'), answerMs) })
        say({ id, ...order })
      })
      return { ended, kill: () => void say({ id, kill: true }) }
    },
    async close(): Promise<void> {
      const closed = once(child, 'close')
      child.stdin.end()
      const overdue = setTimeout(() => child.kill('SIGKILL'), answerMs)
      await closed
      clearTimeout(overdue)
    },
  }

  function hear(line: string): void {
    const parsed = v.safeParse(Said, line)
    if (!parsed.success) {
      lastWords = line
      return
    }
    const answer = parsed.output
    if ('ready' in answer) isReady = true
    else if ('pid' in answer) begun(answer.id, answer.pid)
    else if ('error' in answer) {
      const { id, error, message: why } = answer
      settle(id, { how: 'cannotStart', error, why })
    } else settle(answer.id, { how: 'ended', ...answer })
  }

  function begun(id: number, pid: number): void {
    const running = started.get(id)
    if (!running) return
    running.pid = pid
    clearTimeout(running.overdue)
  }

  function end(why: string, wasKilled: boolean): void {
    if (isOver) return
    isOver = true
    const again = onEnded({ wasReady: isReady, wasKilled })
    for (const [id, { pid }] of started) {
      settle(id, again ? { how: 'unwatched', pid } : { how: 'cannotStart', error: null, why })
    }
  }

  function settle(id: number, end: End): void {
    const running = started.get(id)
    started.delete(id)
    clearTimeout(running?.overdue)
    running?.ends(end)
  }
}
