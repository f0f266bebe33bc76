/** Limits of the kernel on processes that run: what they are refused, they are really refused. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { onTestFinished, vi } from 'vitest'

/** The controller that counts processes and threads, of either version of cgroups. */
const roots = ['/sys/fs/cgroup/pids', '/sys/fs/cgroup']

const pidsRoot = roots.find((root) => {
  const probe = join(root, `wan-probe-${process.pid}`)
  try {
    mkdirSync(probe)
    const works = existsSync(join(probe, 'pids.max'))
    rmdirSync(probe)
    return works
  } catch {
    return false
  }
})

export const canLimitProcesses: boolean = pidsRoot !== undefined

/** Holds a process and all that it starts from now on. There is no limit at first. */
export function aProcessGroup(pid: number) {
  const path = join(pidsRoot ?? '', `wan-test-${pid}-${crypto.randomUUID().slice(0, 8)}`)
  mkdirSync(path)
  writeFileSync(join(path, 'cgroup.procs'), String(pid))
  onTestFinished(async () => {
    writeFileSync(join(path, 'pids.max'), 'max')
    await vi.waitUntil(
      () => {
        for (const left of pidsIn(path)) kill(left)
        return pidsIn(path).length === 0
      },
      { timeout: 10_000 },
    )
    rmdirSync(path)
  })

  return {
    /** Moves another process in, such as one that was started before. */
    add: (other: number) => writeFileSync(join(path, 'cgroup.procs'), String(other)),
    /** No more processes or threads than there are now. */
    close: () => writeFileSync(join(path, 'pids.max'), '1'),
    open: () => writeFileSync(join(path, 'pids.max'), 'max'),
  }
}

const pidsIn = (path: string): number[] =>
  readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number)

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended meanwhile.
  }
}

export const canSetLimits: boolean = (() => {
  try {
    execFileSync('prlimit', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})()

/** The soft limit of a process that runs. What it starts later inherits it. */
export const setLimit = (pid: number, limit: 'nofile' | 'fsize', value: number | 'unlimited') =>
  execFileSync('prlimit', ['--pid', String(pid), `--${limit}=${value}:`])
