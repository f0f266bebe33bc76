/** The clock since the boot of the machine. Nobody sets it, and it outlives this process. */
import { readFileSync } from 'node:fs'
import { isExhausted } from '../../domain/failures.ts'

export const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()

/** Linux tells user space of times in hundredths of a second (USER_HZ), whatever the kernel's own. */
const tickMs = 10

/** Field 22 of /proc/PID/stat: with it a pid names one process and no later one. A zombie is dead. */
export function startTicksOf(pid: number | 'self'): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return state === 'Z' || state === 'X' ? undefined : Number(fields[18])
  } catch (error) {
    // Without descriptors nothing can be read, which does not say that the process has ended.
    if (isExhausted(error)) throw error
    return undefined
  }
}

/**
 * Milliseconds since the boot, on the scale of the start times in /proc. Some containers show an
 * uptime of their own in /proc/uptime, or none; there our own start tells how late it is.
 */
export function bootMs(): number {
  ownStartMs ??= (startTicksOf('self') ?? 0) * tickMs
  const shown = shownUptimeMs()
  const ownAge = process.uptime() * 1000
  return shown - ownStartMs >= ownAge - maxDisagreementMs ? shown : ownStartMs + ownAge
}

let ownStartMs: number | undefined

const maxDisagreementMs = 5_000

function shownUptimeMs(): number {
  try {
    return Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000
  } catch {
    return Number.NaN
  }
}

/** Age of a process that was started this many ticks after the boot. */
export const ageMsOf = (startTicks: number): number => Math.max(0, bootMs() - startTicks * tickMs)
