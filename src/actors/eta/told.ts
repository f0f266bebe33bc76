import type { EtaSource } from '../../domain/estimate.ts'
import type { Timestamp } from '../../domain/job.ts'
import { type Outlook, relativeSpread } from './duration.ts'
import type { Estimate } from './eta-protocol.ts'

/** What is told, and how sure it was before experience corrected that. */
export type Told = Estimate & Readonly<{ spread: number }>

/** `width`: number of standard deviations from the middle to either end of the interval. */
export function toTold(
  outlook: Outlook,
  width: number,
  source: EtaSource,
  progress: number,
  now: Timestamp,
): Told {
  const spread = relativeSpread(outlook)
  const p50 = Math.max(minSeconds, outlook.median)
  const factor = Math.exp(Math.min(widest, width * spread))
  return {
    p10: p50 / factor,
    p50,
    p90: p50 * factor,
    etaAt: Math.round(now + p50 * 1000),
    source,
    progress,
    spread,
  }
}

/** A video that is not there is not there in no time. */
const minSeconds = 0.1

/** Who is less sure than that, a factor of twelve, should not make it sound like a prediction. */
const widest = 2.5
