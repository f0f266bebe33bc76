/** One life of the fork server: its process, and what that has started. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import * as v from 'valibot'
import { type Begun, Said, type TemplateNews } from './fork-server-messages.ts'
import { killAndWait, type ProcessIdentity } from './process-table.ts'
import type { ToolEnd } from './tool.ts'

const script = join(import.meta.dirname, 'fork_server.py')

/** Room for what `ps` is to show of a shim: its own command line. */
const room = ' '.repeat(1_000)

/** How much longer than an order a ping may take: more is lost if this was only a busy moment. */
const pingPatience = 3

/** How soon the fork server must report the start of a tool that is not wanted any more. */
const hurriedAnswerMs = 1_000

/** How long the fork server may take to report the end of a tool that was killed, with its output. */
const afterKillMs = 250

export type End =
  | Extract<ToolEnd, { how: 'cannotStart' }>
  | (Extract<ToolEnd, { how: 'ended' }> & { unreaped: number })
  /** `process`: undefined if the fork server has not reported one. */
  | { how: 'unwatched'; process: ProcessIdentity | undefined; forkServer: number }

export const endByKill = {
  how: 'ended',
  code: null,
  signal: 'SIGKILL',
  stdout: '',
  stderr: '',
  unreaped: 0,
} as const

/** `why`: what kept a template from forking it. `standby`: it was forked before it was ordered. */
export type ShimStarted = Readonly<{ start: 'warm' | 'cold'; why?: string; standby?: true }>

type Listener = Readonly<{
  onStarted?: ((started: ShimStarted) => void) | undefined
  onNews?: (news: TemplateNews) => void
}>

type Order = Readonly<
  { env: object } & (
    | { shim: string; from?: number }
    | { tool: readonly string[]; maxBytes?: number }
    | { template: readonly string[]; standby: boolean }
    | { probe: number }
  )
>

type Running = Listener & {
  ends(end: End): void
  overdue: NodeJS.Timeout
  process?: ProcessIdentity
  isKilled?: true
}

export type Life = ReturnType<typeof launch>

/** Whether another try may well go through. */
type HearOfEnd = (life: { wasReady: boolean; wasKilled: boolean }) => boolean

/** `onEnded` is called before anybody hears of what ended with it. */
export function launch(
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
    /** `extraMs`: more time for the answer, which somebody else has to give first. */
    start(order: Order, listener: Listener = {}, extraMs = 0) {
      const id = ++lastId
      const ended = new Promise<End>((ends) => {
        started.set(id, { ...listener, ends, overdue: expectAnswer(answerMs + extraMs) })
        say({ id, ...order })
      })
      pinging ??= setTimeout(ping, pingMs).unref()
      return { id, ended, kill: () => killOne(id) }
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
    else if ('template' in answer) started.get(answer.id)?.onNews?.(answer)
    else if ('pid' in answer) begun(answer)
    else if ('pong' in answer) {
      clearTimeout(unanswered)
      unanswered = undefined
    } else if ('error' in answer) {
      const { id, error, message: why } = answer
      settle(id, { how: 'cannotStart', error, why })
    } else settle(answer.id, { how: 'ended', ...answer })
  }

  function begun({ id, pid, start, from, why, standby }: Begun): void {
    const running = started.get(id)
    if (!running) return
    running.process = { pid, start }
    running.onStarted?.({
      start: from === undefined ? 'cold' : 'warm',
      ...(why !== undefined && { why }),
      ...(standby && { standby }),
    })
    clearTimeout(running.overdue)
    if (running.isKilled) void endKilled(id, running.process)
  }

  function end(why: string, wasKilled: boolean): void {
    if (isOver) return
    isOver = true
    clearTimeout(pinging)
    clearTimeout(unanswered)
    const again = onEnded({ wasReady: isReady, wasKilled })
    const { pid: forkServer } = child
    for (const [id, { process }] of started) {
      const isUnwatched = again && forkServer !== undefined
      settle(
        id,
        isUnwatched
          ? { how: 'unwatched', process, forkServer }
          : { how: 'cannotStart', error: null, why },
      )
    }
  }

  function settle(id: number, end: End): void {
    const running = started.get(id)
    started.delete(id)
    clearTimeout(running?.overdue)
    running?.ends(end)
  }
}
