/** The clock since the boot of the machine. Nobody sets it, and it outlives this process. */
import { readFileSync } from 'node:fs'
import { startOf } from '../processes/process-table.ts'

export const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()

/** Linux tells user space of times in hundredths of a second (USER_HZ), whatever the kernel's own. */
const tickMs = 10

/**
 * Milliseconds since the boot, on the scale of the start times in /proc. Some containers show an
 * uptime of their own in /proc/uptime, or none; there our own start tells how late it is.
 */
export function bootMs(): number {
  ownStartMs ??= (startOf(process.pid) ?? 0) * tickMs
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
