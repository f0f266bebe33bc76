/** The one way to run a program that ends soon and says something: ffmpeg, ffprobe, nvidia-smi, Python. */
import { type ChildProcess, spawn } from 'node:child_process'

/**
 * Runs a tool to its end and returns its output. The arguments reach it as they are, with no shell
 * between. Settles only when the process is gone, also after a time-out and after `signal`: callers
 * may rely on that. `afterKill: 'leave'` settles at once instead, for a tool that may be stuck in a
 * driver, where not even SIGKILL ends it.
 */
export async function runTool(
  argv: ToolCommand,
  {
    timeoutMs,
    signal,
    maxBytes,
    env = process.env,
    start = startChild,
    afterKill = 'wait',
  }: {
    timeoutMs: number
    signal?: AbortSignal
    /** Memory that it gets; what it does when that is not enough is up to the tool. */
    maxBytes?: number
    env?: NodeJS.ProcessEnv
    start?: StartTool
    afterKill?: 'wait' | 'leave'
  },
): Promise<string> {
  const [command] = argv
  const run = startOrFail(start, argv, env, maxBytes)
  const left = Promise.withResolvers<undefined>()
  let why: string | undefined
  const kill = (reason: string) => {
    why ??= reason
    run.kill()
    if (afterKill === 'wait') return
    run.leave()
    left.resolve(undefined)
  }
  const abort = () => kill('was interrupted')
  const timer = setTimeout(() => kill(`took longer than ${timeoutMs / 1000} s`), timeoutMs)
  signal?.addEventListener('abort', abort)
  if (signal?.aborted) abort()
  const end = await Promise.race([run.ended, left.promise])
  clearTimeout(timer)
  signal?.removeEventListener('abort', abort)

  if (end?.how === 'cannotStart') {
    const said = end.error === 'ENOENT' ? 'is not installed' : `cannot be started: ${end.why}`
    throw new ToolError(`${command} ${said}`, 'prevented', end)
  }
  if (end?.code === 0 && why === undefined) return end.stdout
  const status = end?.signal ?? `exit code ${end?.code}`
  const lastLine = end?.stderr.trim().split('\n').at(-1)
  const how = why !== undefined ? 'prevented' : end?.signal ? 'killed' : 'failed'
  const message = `${command} ${why ?? `failed (${status})`}${lastLine ? `: ${lastLine}` : ''}`
  throw new ToolError(message, how, end)
}

/** Node throws at once where memory runs out, and reports other errors as an event. */
function startOrFail(start: StartTool, ...command: Parameters<StartTool>): ToolRun {
  try {
    return start(...command)
  } catch (error) {
    const { code = null, message } = error as { code?: string; message: string }
    const ended = Promise.resolve({ how: 'cannotStart', error: code, why: message } as const)
    return { ended, kill: () => {}, leave: () => {} }
  }
}

/** A tool that ended otherwise than well; the message ends in the last line it said. */
export class ToolError extends Error {
  override readonly name = 'ToolError'
  /**
   * `failed`: it ran and said no. `killed`: by a signal of somebody else, its work not at fault.
   * `prevented`: not installed, not in time, or interrupted by us.
   */
  readonly how: 'failed' | 'killed' | 'prevented'
  /** Undefined where nobody waited for it. */
  readonly end: ToolEnd | undefined

  constructor(message: string, how: ToolError['how'] = 'failed', end?: ToolEnd) {
    super(message)
    this.how = how
    this.end = end
  }
}

export type ToolEnd =
  | { how: 'cannotStart'; error: string | null; why: string }
  | { how: 'ended'; code: number | null; signal: string | null; stdout: string; stderr: string }

export type ToolRun = Readonly<{
  /** Resolves only when the process is gone, also after `kill`. */
  ended: Promise<ToolEnd>
  kill(): void
  /** This process may exit before the tool does. */
  leave(): void
}>

/** The program and its arguments; there is no shell. */
export type ToolCommand = readonly [string, ...string[]]

/** `maxBytes`: of memory; only the fork server can limit it. */
export type StartTool = (argv: ToolCommand, env: NodeJS.ProcessEnv, maxBytes?: number) => ToolRun

/** How much of what a tool says is kept: the first of its output, the last of its errors. */
const keptBytes = 1024 * 1024

/** As a child of our own, in a group of its own: one signal ends whatever it has started, too. */
export const startChild: StartTool = ([command, ...args], env) => {
  const child: ChildProcess = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env,
    detached: true,
  })
  let stdout = ''
  let stderr = ''
  // Without descriptors for them there are no pipes, and the error below says so.
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    if (stdout.length < keptBytes) stdout += text
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-keptBytes)
  })
  const ended = new Promise<ToolEnd>((resolve) => {
    child.on('error', (error) => {
      // Otherwise it runs all the same, and could only not be killed.
      if (child.pid !== undefined) return
      const { code = null } = error as { code?: string }
      resolve({ how: 'cannotStart', error: code, why: error.message })
    })
    child.on('close', (code, signal) => resolve({ how: 'ended', code, signal, stdout, stderr }))
  })
  return {
    ended,
    kill() {
      if (child.pid !== undefined) killGroup(child.pid)
    },
    leave() {
      child.unref()
      child.stdout?.destroy()
      child.stderr?.destroy()
    },
  }
}

function killGroup(leader: number): void {
  try {
    process.kill(-leader, 'SIGKILL')
  } catch {
    // It has just ended.
  }
}
