/** Notices when a file that the service keeps open is no longer the file at its path. */
import { statSync } from 'node:fs'
import { stat } from 'node:fs/promises'

export type FileWatch = Disposable &
  Readonly<{
    /** Checks all files now. */
    check(): Promise<void>
  }>

const usualEveryMs = 2_000

/**
 * A removed or replaced lock protects nothing, and a removed database is lost with the process. Files
 * that do not exist yet are not watched. `onLost` is called once at most.
 */
export function watchFiles(
  paths: readonly string[],
  onLost: (why: string) => void,
  { everyMs = usualEveryMs } = {},
): FileWatch {
  const known = new Map(
    paths.flatMap((path) => {
      const found = statSync(path, { bigint: true, throwIfNoEntry: false })
      return found ? [[path, identityOf(found)] as const] : []
    }),
  )
  let isOver = false
  let isChecking = false
  const timer = setInterval(() => void check(), everyMs).unref()
  return { check, [Symbol.dispose]: end }

  function end(): void {
    isOver = true
    clearInterval(timer)
  }

  async function check(): Promise<void> {
    if (isChecking) return
    isChecking = true
    for (const [path, identity] of known) {
      const how = await changeOf(path, identity)
      if (!how || isOver) continue
      end()
      onLost(`${path} was ${how} while the service ran.`)
    }
    isChecking = false
  }
}

async function changeOf(
  path: string,
  identity: string,
): Promise<'removed' | 'replaced' | undefined> {
  try {
    return identityOf(await stat(path, { bigint: true })) === identity ? undefined : 'replaced'
  } catch (error) {
    // Any other error says nothing about the file.
    const { code = '' } = error as { code?: string }
    return ['ENOENT', 'ENOTDIR'].includes(code) ? 'removed' : undefined
  }
}

const identityOf = ({ dev, ino }: { dev: bigint; ino: bigint }): string => `${dev}:${ino}`
