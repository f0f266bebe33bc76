import { spawn } from 'node:child_process'

/** A tool that ended otherwise than well; the message ends in the last line it said. */
export class ToolError extends Error {
  override readonly name = 'ToolError'
  /**
   * `failed`: it ran and said no. `killed`: by a signal of somebody else, its work not at fault.
   * `prevented`: not installed, not in time, or interrupted by us.
   */
  readonly how: 'failed' | 'killed' | 'prevented'

  constructor(message: string, how: ToolError['how'] = 'failed') {
    super(message)
    this.how = how
  }
}

export type ToolEnd =
  | { how: 'cannotStart'; error: string | null; why: string }
  | { how: 'ended'; code: number | null; signal: string | null; stdout: string; stderr: string }

/** `ended` resolves only when the process is gone, also after `kill`. */
export type ToolRun = Readonly<{ ended: Promise<ToolEnd>; kill(): void }>

/** The first of `argv` is the program; there is no shell. */
export type StartTool = (argv: readonly [string, ...string[]], env: NodeJS.ProcessEnv) => ToolRun

/** How much of what a tool says is kept. */
const keptBytes = 1024 * 1024

/**
 * Runs a tool to its end, its arguments as they are and no shell between. Settles only when the
 * process is gone, also after `signal`: whoever waits for it may rely on that.
 */
export async function runTool(
  command: string,
  args: readonly string[],
  {
    timeoutMs,
    signal,
    env = process.env,
    start = startChild,
  }: { timeoutMs: number; signal?: AbortSignal; env?: NodeJS.ProcessEnv; start?: StartTool },
): Promise<string> {
  const run = start([command, ...args], env)
  let why: string | undefined
  const kill = (reason: string) => {
    why ??= reason
    run.kill()
  }
  const abort = () => kill('was interrupted')
  const timer = setTimeout(() => kill(`took longer than ${timeoutMs / 1000} s`), timeoutMs)
  signal?.addEventListener('abort', abort)
  if (signal?.aborted) abort()
  const end = await run.ended
  clearTimeout(timer)
  signal?.removeEventListener('abort', abort)

  if (end.how === 'cannotStart') {
    const said = end.error === 'ENOENT' ? 'is not installed' : `cannot be started: ${end.why}`
    throw new ToolError(`${command} ${said}`, 'prevented')
  }
  if (end.code === 0 && why === undefined) return end.stdout
  const status = end.signal ?? `exit code ${end.code}`
  const lastLine = end.stderr.trim().split('\n').at(-1)
  throw new ToolError(
    `${command} ${why ?? `failed (${status})`}${lastLine ? `: ${lastLine}` : ''}`,
    why !== undefined ? 'prevented' : end.signal !== null ? 'killed' : 'failed',
  )
}

/** As a child of our own. */
export const startChild: StartTool = ([command, ...args], env) => {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (stdout.length < keptBytes) stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
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
  return { ended, kill: () => child.kill('SIGKILL') }
}
