/** Our side of `fork_server.py`: the small process that starts others, because we are slow at it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import * as v from 'valibot'
import { killAndWait, type ProcessIdentity } from './process-table.ts'
import type { StartTool, ToolEnd } from './tool.ts'

/** What became of a shim. `unwatched`: whoever could have told has ended first. */
export type ShimEnd =
  | { how: 'cannotStart'; why: string }
  /** `unreaped`: number of its descendants that have survived SIGKILL. */
  | { how: 'ended'; signal: string | null; unreaped: number }
  | { how: 'unwatched' }

export type ForkServer = Readonly<{
  /** Starts it before it is needed. Whenever it is needed and not there, it is started again. */
  warmUp(): void
  /** Starts a shim that outlives us and the fork server. Resolves when it has ended. */
  startShim(attemptDir: string, env: NodeJS.ProcessEnv): Promise<ShimEnd>
  /** Starts a tool. If the fork server ends before it, the tool is killed and started once more. */
  startTool: StartTool
  /** The shims stay. */
  close(): Promise<void>
}>

const script = join(import.meta.dirname, 'fork_server.py')

/** Room for what `ps` is to show of a shim: its own command line. */
const room = ' '.repeat(1_000)

/** To fork takes a millisecond: when there is no answer by then, something holds it up for good. */
const usualAnswerMs = 5_000

/** How often it must answer while something runs that it started. */
const usualPingMs = 5_000

/** How much longer than an order a ping may take: more is lost if this was only a busy moment. */
const pingPatience = 3

/** How soon the fork server must report the start of a tool that is not wanted any more. */
const hurriedAnswerMs = 1_000

/** How long the fork server may take to report the end of a tool that was killed, with its output. */
const afterKillMs = 250

/** Killed so often before it was ready, it is not by chance: Python itself crashes. */
const maxStillborn = 5

const Ready = v.object({ ready: v.literal(true) })
const Pong = v.object({ id: v.number(), pong: v.literal(true) })
const Begun = v.object({ id: v.number(), pid: v.number(), start: v.number() })
const NotBegun = v.object({ id: v.number(), error: v.nullable(v.string()), message: v.string() })
const Ended = v.object({
  id: v.number(),
  code: v.nullable(v.number()),
  signal: v.nullable(v.string()),
  unreaped: v.optional(v.number(), 0),
  stdout: v.optional(v.string(), ''),
  stderr: v.optional(v.string(), ''),
})
/** Not everything on its stdout need be: a wrapper around Python may have something to say there. */
const Said = v.pipe(v.string(), v.parseJson(), v.union([Begun, Ended, NotBegun, Pong, Ready]))

type End =
  | Extract<ToolEnd, { how: 'cannotStart' }>
  | (Extract<ToolEnd, { how: 'ended' }> & { unreaped: number })
  | { how: 'unwatched'; process: ProcessIdentity | undefined }

export function createForkServer(
  python: string,
  { answerMs = usualAnswerMs, pingMs = usualPingMs } = {},
): ForkServer {
  let server: ReturnType<typeof launch> | undefined
  let stillborn = 0
  const running = () => {
    server ??= launch(python, { answerMs, pingMs }, ({ wasReady, wasKilled }) => {
      server = undefined
      stillborn = wasReady ? 0 : stillborn + 1
      return wasReady || (wasKilled && stillborn < maxStillborn)
    })
    return server
  }

  return {
    warmUp() {
      try {
        running()
      } catch {
        // No memory for it now: the first order tries again, and learns why.
      }
    },
    startShim: (attemptDir, env) => running().start({ shim: attemptDir, env }).ended,
    startTool(argv, env, maxBytes) {
      const begin = () => running().start({ tool: argv, env, ...(maxBytes && { maxBytes }) })
      let run = begin()
      let isKilled = false
      return {
        ended: end(),
        kill() {
          isKilled = true
          run.kill()
        },
        leave: () => {},
      }

      /** The end of a fork server says nothing about its tools. */
      async function end(): Promise<ToolEnd> {
        const first = await endWatched(await run.ended)
        if (first) return first
        if (isKilled) return endByKill
        run = begin()
        return (await endWatched(await run.ended)) ?? endByKill
      }
    },
    close: async () => server?.close(),
  }
}

const endByKill = {
  how: 'ended',
  code: null,
  signal: 'SIGKILL',
  stdout: '',
  stderr: '',
  unreaped: 0,
} as const

/** Undefined when nobody watches the tool any more. Then it is killed. */
async function endWatched(end: End): Promise<ToolEnd | undefined> {
  if (end.how !== 'unwatched') return end
  if (end.process) await killAndWait(end.process)
  return undefined
}

type Running = {
  ends(end: End): void
  overdue: NodeJS.Timeout
  process?: ProcessIdentity
  isKilled?: true
}

/** Whether another try may well go through. */
type HearOfEnd = (life: { wasReady: boolean; wasKilled: boolean }) => boolean

/** One life of it. `onEnded` is called before anybody hears of what ended with it. */
function launch(
  python: string,
  { answerMs, pingMs }: { answerMs: number; pingMs: number },
  onEnded: HearOfEnd,
) {
  const child: ChildProcess = spawn(python, ['-I', '-S', script, room], {
    // What a terminal sends to all that runs in it is not meant for what we start.
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const started = new Map<number, Running>()
  let lastId = 0
  let isReady = false
  let isOver = false
  let lastWords = ''
  let pinging: NodeJS.Timeout | undefined
  let unanswered: NodeJS.Timeout | undefined
  child.on('error', ({ message }) => end(`${python} could not be started: ${message}`, false))
  child.stdin?.on('error', () => {}) // It has ended, which is told by itself.
  // Where no descriptor is left there are no pipes, and the error above says so.
  if (child.stdout) createInterface(child.stdout).on('line', hear)
  if (child.stderr) {
    createInterface(child.stderr).on('line', (line) => {
      lastWords = line
    })
  }
  child.on('close', (code, signal) => {
    const said = lastWords || 'it said nothing'
    end(`the fork server failed (${signal ?? `exit code ${code}`}): ${said}`, signal !== null)
  })
  const say = (order: object) => child.stdin?.write(`${JSON.stringify(order)}\n`)

  return {
    start(
      order: ({ shim: string } | { tool: readonly string[]; maxBytes?: number }) & { env: object },
    ) {
      const id = ++lastId
      const ended = new Promise<End>((ends) => {
        started.set(id, { ends, overdue: expectAnswer(answerMs) })
        say({ id, ...order })
      })
      pinging ??= setTimeout(ping, pingMs).unref()
      return { ended, kill: () => killOne(id) }
    },
    async close(): Promise<void> {
      const closed = once(child, 'close')
      child.stdin?.end()
      const overdue = setTimeout(() => child.kill('SIGKILL'), answerMs)
      await closed
      clearTimeout(overdue)
    },
  }

  /** An answer that has arrived while this process stood still is read before the time is up. */
  function expectAnswer(withinMs: number): NodeJS.Timeout {
    const overdue: NodeJS.Timeout = setTimeout(() => {
      setImmediate(() => {
        if (isExpected(overdue)) child.kill('SIGKILL')
      })
    }, withinMs)
    return overdue
  }

  function isExpected(overdue: NodeJS.Timeout): boolean {
    const isStart = (one: Running) => one.overdue === overdue && !one.process
    return overdue === unanswered || [...started.values()].some(isStart)
  }

  /** The end of what has started is news that a fork server which stands still does not bring. */
  function ping(): void {
    pinging = undefined
    if (isOver || started.size === 0) return
    if (!unanswered) {
      say({ id: ++lastId, ping: true })
      unanswered = expectAnswer(pingPatience * answerMs)
    }
    pinging = setTimeout(ping, pingMs).unref()
  }

  /** Ends it whether or not the fork server obeys: it may stand still. */
  function killOne(id: number): void {
    const running = started.get(id)
    if (!running || running.isKilled) return
    running.isKilled = true
    say({ id, kill: true })
    if (running.process) void endKilled(id, running.process)
    else {
      clearTimeout(running.overdue)
      running.overdue = expectAnswer(Math.min(answerMs, hurriedAnswerMs))
    }
  }

  async function endKilled(id: number, process: ProcessIdentity): Promise<void> {
    await killAndWait(process)
    await delay(afterKillMs, undefined, { ref: false })
    settle(id, endByKill)
  }

  function hear(line: string): void {
    const parsed = v.safeParse(Said, line)
    if (!parsed.success) {
      lastWords = line
      return
    }
    const answer = parsed.output
    if ('ready' in answer) isReady = true
    else if ('pid' in answer) begun(answer)
    else if ('pong' in answer) {
      clearTimeout(unanswered)
      unanswered = undefined
    } else if ('error' in answer) {
      const { id, error, message: why } = answer
      settle(id, { how: 'cannotStart', error, why })
    } else settle(answer.id, { how: 'ended', ...answer })
  }

  function begun({ id, pid, start }: v.InferOutput<typeof Begun>): void {
    const running = started.get(id)
    if (!running) return
    running.process = { pid, start }
    clearTimeout(running.overdue)
    if (running.isKilled) void endKilled(id, running.process)
  }

  function end(why: string, wasKilled: boolean): void {
    if (isOver) return
    isOver = true
    clearTimeout(pinging)
    clearTimeout(unanswered)
    const again = onEnded({ wasReady: isReady, wasKilled })
    for (const [id, { process }] of started) {
      settle(id, again ? { how: 'unwatched', process } : { how: 'cannotStart', error: null, why })
    }
  }

  function settle(id: number, end: End): void {
    const running = started.get(id)
    started.delete(id)
    clearTimeout(running?.overdue)
    running?.ends(end)
  }
}
