/**
 * Preloaded into a service (`--import`), sets its clock as `date -s` would: `Date` is off by the
 * milliseconds in the file that STEPPED_CLOCK names. Timers, the monotonic clock, other processes
 * and the times of files are left alone.
 */
import { readFileSync } from 'node:fs'

const path = process.env.STEPPED_CLOCK
const lookEveryMs = 10

const RealDate = Date
let offsetMs = 0

function look(): void {
  try {
    offsetMs = Number(readFileSync(path ?? '', 'utf8')) || 0
  } catch {
    // No file, no step.
  }
}

class SteppedDate extends RealDate {
  constructor(...parts: [] | [value: number | string | Date]) {
    super(...((parts.length === 0 ? [SteppedDate.now()] : parts) as [number]))
  }

  static override now(): number {
    return RealDate.now() + offsetMs
  }
}

if (path !== undefined) {
  look()
  setInterval(look, lookEveryMs).unref()
  globalThis.Date = SteppedDate as DateConstructor
}
