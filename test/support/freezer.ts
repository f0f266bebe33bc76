/** Processes that survive SIGKILL, as in a driver that hangs: frozen by a control group (version 1). */
import { mkdirSync, mkdtempSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { onTestFinished, vi } from 'vitest'
import { kill } from './shim-attempt.ts'

const freezer = '/sys/fs/cgroup/freezer'

export const canFreeze: boolean = (() => {
  try {
    rmdirSync(mkdtempSync(join(freezer, 'test-')))
    return true
  } catch {
    return false
  }
})()

/** Until the end of the test, or until it is thawed. */
export function freeze(pid: number): { thaw(): void } {
  const group = join(freezer, `test-${pid}`)
  mkdirSync(group)
  writeFileSync(join(group, 'tasks'), String(pid))
  writeFileSync(join(group, 'freezer.state'), 'FROZEN')
  const thaw = () => writeFileSync(join(group, 'freezer.state'), 'THAWED')
  onTestFinished(async () => {
    thaw()
    kill(pid)
    await vi.waitFor(() => rmdirSync(group), 10_000)
  })
  return { thaw }
}
