import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import type { Check } from '../../domain/check.ts'
import { runTool } from '../processes/tool.ts'

/**
 * How long a tool that ran is trusted while its file is the same. A start of ffmpeg takes 50 to 100 ms of
 * CPU time: two of them every 30 s were half of what an idle service used.
 */
const maxTrustMs = 10 * 60_000

/**
 * Checks that a tool of ffmpeg on the PATH can be started. It is started at the first check, after a
 * failure, when its file has changed, and every ten minutes.
 */
export function checkTool(tool: string): () => Promise<Check> {
  let trusted: Readonly<{ check: Check; file: string; at: number }> | undefined
  return async () => {
    const file = await identify(tool)
    const isSame = trusted?.file === file
    if (trusted && isSame && performance.now() - trusted.at < maxTrustMs) return trusted.check
    const check = await start(tool)
    trusted = check.ok && file !== undefined ? { check, file, at: performance.now() } : undefined
    return check
  }
}

const start = (tool: string): Promise<Check> =>
  runTool([tool, '-version'], { timeoutMs: 5_000 }).then(
    (output) => ({ name: tool, ok: true, detail: output.split('\n', 1)[0] ?? '' }),
    (error: Error) => ({ name: tool, ok: false, detail: `${error.message}. Install ffmpeg.` }),
  )

/** Which file would be started; undefined: none. */
async function identify(tool: string): Promise<string | undefined> {
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
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
