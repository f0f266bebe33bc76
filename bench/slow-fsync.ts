/** A disk that takes its time: every fsync of a process sleeps first. Needs a C compiler. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const compiler = 'cc'

export const canSlowFsync = (): boolean => {
  try {
    execFileSync(compiler, ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

export type SlowFsync = Readonly<{ env: NodeJS.ProcessEnv; remove(): void }>

/** `env` slows the processes that get it, and those that they start. */
export function slowFsync(ms: number): SlowFsync {
  const directory = mkdtempSync(join(tmpdir(), 'wan-fsync-'))
  const library = join(directory, 'slow_fsync.so')
  const source = join(import.meta.dirname, 'slow_fsync.c')
  execFileSync(compiler, ['-shared', '-fPIC', '-O2', '-o', library, source], { stdio: 'inherit' })
  return {
    env: { LD_PRELOAD: library, SLOW_FSYNC_MS: String(ms) },
    remove: () => rmSync(directory, { recursive: true, force: true }),
  }
}
