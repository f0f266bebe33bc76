/** The state of the log of events, and the steps that several rules share. */
import { covers } from '../../domain/client.ts'
import type { Job, JobId } from '../../domain/job.ts'
import type { Step } from '../actor.ts'
import { get, set } from '../ordered-map.ts'
import type { EventEffect, EventSettings, EventState, Reason, Watch } from './event-protocol.ts'

export type EventStep = Step<EventState, EventEffect>

export function startLog(settings: EventSettings, life: string): EventState {
  return {
    settings,
    life,
    number: 0,
    resumableFrom: 0,
    kept: [],
    watches: [],
    joining: [],
    looks: 0,
    due: new Map(),
    stepped: undefined,
    progressed: undefined,
    beating: false,
    refreshing: false,
  }
}

/** Shows progress of these jobs at the next beat. */
export function beat(state: EventState, more: ReadonlyMap<JobId, 'step' | 'refresh'>): EventStep {
  if (more.size === 0) return [state, []]
  let { stepped } = state
  for (const [jobId, reason] of more) {
    const known = get(stepped, jobId)
    if (!known || isWeaker(known, reason)) stepped = set(stepped, jobId, reason)
  }
  return [{ ...state, stepped, beating: true }, state.beating ? [] : [{ do: 'expectBeat' }]]
}

/** Who comes back with an older id is shown how things are; who waits to be shown waits on. */
export function startAnew({ looking, ...state }: EventState): EventStep {
  const number = state.number + 1
  return [
    {
      ...state,
      number,
      resumableFrom: number,
      kept: [],
      watches: [],
      joining: [...(looking?.joining ?? []), ...state.joining],
      due: new Map(),
      stepped: undefined,
      progressed: undefined,
    },
    state.watches.length === 0
      ? []
      : [{ do: 'tellWatchers', to: state.watches, message: { type: 'over' } }],
  ]
}

export const isWatched = ({ id, owner }: Job, { jobId, scope }: Watch): boolean =>
  (jobId === undefined || jobId === id) && covers(scope, { jobId: id, owner })

export const idOf = ({ life }: EventState, number: number): string => `${life}-${number}`

const strength: readonly Reason[] = ['refresh', 'step', 'stage', 'status']

const isWeaker = (a: Reason, b: Reason): boolean => strength.indexOf(a) < strength.indexOf(b)

/** Each job with the strongest reason to look at it. */
export function withReasons<R extends Reason>(
  reasons: ReadonlyMap<JobId, R>,
  more: Iterable<readonly [JobId, R]>,
): ReadonlyMap<JobId, R> {
  const all = new Map(reasons)
  for (const [jobId, reason] of more) {
    const known = all.get(jobId)
    if (!known || isWeaker(known, reason)) all.set(jobId, reason)
  }
  return all
}
