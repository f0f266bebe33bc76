/** What `GET /ready` says of a clock in doubt. Jobs get somewhere nevertheless. */
import type { StandingCheck } from '../domain/check.ts'
import type { Doubt, Hold } from '../domain/hold.ts'
import type { Observe } from '../domain/observation.ts'
import { hourMs } from '../domain/time.ts'

/** Notes what the janitor thinks of the clock on its way to the metrics. */
export function createClockCheck(observe: Observe) {
  let hold: Hold | undefined
  return {
    observe(observation: Parameters<Observe>[0]): void {
      if (observation.saw === 'deletionsJudged') hold = observation.hold
      observe(observation)
    },
    standing: (): readonly StandingCheck[] => (hold ? [checkOf(hold)] : []),
  }
}

const checkOf = ({ because, leftMs }: Hold): StandingCheck => ({
  name: 'clock',
  ok: true,
  detail:
    `${reasons[because]}. Nothing is deleted by age for ${Math.ceil(leftMs / hourMs)} more hours of ` +
    'running. Check the clock; POST /admin/purge deletes now.',
  ageMs: 0,
})

const reasons: Record<Doubt, string> = {
  gap: 'The service was last seen to run more than an hour ago, or the clock was set forward',
  behind: 'The clock is behind the last run of the service',
  jumped: 'The clock was set while the service ran',
  all_due: 'By this clock every job is over its time',
}
