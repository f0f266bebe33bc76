/** How much of the CPU processes have used. */
import { readFileSync } from 'node:fs'

/** USER_HZ, which is 100 wherever Node runs on Linux. */
const ticksPerSecond = 100

/** CPU seconds of a process; `withEnded`: and of its children that have ended. */
export function cpuOf(pid: number, withEnded = false): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const ticks = fields.slice(11, withEnded ? 15 : 13).map(Number)
  return ticks.reduce((sum, value) => sum + value, 0) / ticksPerSecond
}

/** CPU seconds of a server, and of all the processes that it has started. */
export function cpuOfTree(pid: number): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
  const pids = children.split(' ').filter(Boolean).map(Number)
  return pids.reduce((sum, child) => sum + cpuOfTree(child), cpuOf(pid, true))
}
