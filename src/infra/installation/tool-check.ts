import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { delimiter, isAbsolute, join } from 'node:path'
import type { Check } from '../../domain/check.ts'
import { saysExhausted } from '../../domain/failures.ts'
import { runTool, type ToolCommand } from '../processes/tool.ts'

/**
 * How long a tool that ran is trusted while its file is the same. A start of ffmpeg takes 50 to 100 ms of
 * CPU time: two of them every 30 s were half of what an idle service used.
 */
const maxTrustMs = 10 * 60_000

/**
 * Checks that a tool can be started. It is started at the first check, after a failure, when its file has
 * changed, and every ten minutes. `hint`: what to do when it is missing or does not work.
 */
export function checkTool(name: string, command: ToolCommand, hint: string): () => Promise<Check> {
  const [tool] = command
  let trusted: Readonly<{ check: Check; file: string; at: number }> | undefined
  return async () => {
    const file = await identify(tool)
    const isSame = trusted?.file === file
    if (trusted && isSame && performance.now() - trusted.at < maxTrustMs) return trusted.check
    const check = await start(name, command, hint)
    trusted = check.ok && file !== undefined ? { check, file, at: performance.now() } : undefined
    return check
  }
}

async function start(name: string, command: ToolCommand, hint: string): Promise<Check> {
  try {
    const output = await runTool(command, { timeoutMs: 5_000 })
    return { name, ok: true, detail: output.split('\n', 1)[0] || command[0] }
  } catch (error) {
    const { message } = error as Error
    return { name, ok: false, detail: `${message}. ${hintAfter(message) ?? hint}` }
  }
}

/** A tool that cannot be started for lack of processes or descriptors may well be installed. */
const hintAfter = (message: string): string | undefined =>
  saysExhausted(message)
    ? 'Raise the limits of processes, memory or open files, or end what uses them up.'
    : undefined

/** Which file would be started; undefined: none. */
async function identify(tool: string): Promise<string | undefined> {
  const directories = isAbsolute(tool) ? [''] : (process.env.PATH ?? '').split(delimiter)
  for (const directory of directories) {
    const path = join(directory, tool)
    try {
      await access(path, constants.X_OK)
      const { dev, ino, size, mtimeMs, ctimeMs } = await stat(path)
      return [path, dev, ino, size, mtimeMs, ctimeMs].join(':')
    } catch {
      // Not in this directory.
    }
  }
  return undefined
}
