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

/** How much of what a tool says is kept. */
const keptBytes = 1024 * 1024

/**
 * Runs a tool to its end, its arguments as they are and no shell between. Settles only when the
 * process is gone, also after `signal`: whoever waits for it may rely on that.
 */
export function runTool(
  command: string,
  args: readonly string[],
  { timeoutMs, signal, env }: { timeoutMs: number; signal?: AbortSignal; env?: NodeJS.ProcessEnv },
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...(env && { env }) })
    let stdout = ''
    let stderr = ''
    let why: string | undefined
    const kill = (reason: string) => {
      why ??= reason
      child.kill('SIGKILL')
    }
    const abort = () => kill('was interrupted')
    const timer = setTimeout(() => kill(`took longer than ${timeoutMs / 1000} s`), timeoutMs)
    signal?.addEventListener('abort', abort)
    if (signal?.aborted) abort()

    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (stdout.length < keptBytes) stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-keptBytes)
    })
    child.on('error', (error) => {
      why ??= (error as { code?: string }).code === 'ENOENT' ? 'is not installed' : error.message
      if (child.pid === undefined) end()
    })
    child.on('close', (code, killedBy) => end(code, killedBy))

    function end(code: number | null = null, killedBy: string | null = null): void {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      if (code === 0 && why === undefined) {
        resolve(stdout)
        return
      }
      const status = killedBy ?? `exit code ${code}`
      const lastLine = stderr.trim().split('\n').at(-1)
      reject(
        new ToolError(
          `${command} ${why ?? `failed (${status})`}${lastLine ? `: ${lastLine}` : ''}`,
          why !== undefined ? 'prevented' : killedBy !== null ? 'killed' : 'failed',
        ),
      )
    }
  })
}
