/** Rules for those who watch: how they join, come back and leave. */
import { RefusalError } from '../../domain/errors.ts'
import type { JobId } from '../../domain/job.ts'
import { answer } from '../actor.ts'
import { entries } from '../ordered-map.ts'
import type { EventMessage, EventState, LoggedEvent, Opening, Watch } from './event-protocol.ts'
import { beat, type EventStep, isWatched } from './event-state.ts'

export function watch(
  state: EventState,
  asked: Extract<EventMessage, { type: 'watch' }>,
): EventStep {
  const { watches, joining, looking, settings } = state
  const { replyTo, watcher, jobId, scope, after } = asked
  const present = watches.length + joining.length + (looking?.joining.length ?? 0)
  if (present >= settings.maxWatchers) {
    const refusal = new RefusalError(
      'too_many_watchers',
      `${settings.maxWatchers} connections are waiting for events already; try again in a moment.`,
    )
    return [state, [answer(replyTo, refusal)]]
  }
  const one: Watch = { watcher, scope, ...(jobId && { jobId }) }
  const missed = after === undefined ? undefined : missedSince(state, after, one)
  if (!missed) return [{ ...state, joining: [...joining, { ...one, replyTo }] }, []]

  const opening: Opening = { how: 'resumed', missed }
  const [resumed, effects] = seat(state, one)
  const [next, more] = beat(resumed, progressSince(state, after, one))
  return [next, [answer(replyTo, opening), ...effects, ...more]]
}

export function unwatch(state: EventState, { watcher }: Pick<Watch, 'watcher'>): EventState {
  const others = <W extends Watch>(watches: readonly W[]) =>
    watches.filter((one) => one.watcher !== watcher)
  const { looking } = state
  return {
    ...state,
    watches: others(state.watches),
    joining: others(state.joining),
    ...(looking && { looking: { ...looking, joining: others(looking.joining) } }),
  }
}

/** Number of those who wait for this very job. */
export const watchersOf = ({ watches, joining, looking }: EventState, jobId: JobId): number =>
  [...watches, ...joining, ...(looking?.joining ?? [])].filter((one) => one.jobId === jobId).length

/** From here on the watcher receives events. */
export function seat(state: EventState, one: Watch): EventStep {
  const seated = { ...state, watches: [...state.watches, one] }
  return one.jobId && !state.refreshing
    ? [{ ...seated, refreshing: true }, [{ do: 'expectRefresh' }]]
    : [seated, []]
}

/** Of another life, or no longer kept: then nobody can say what was missed. */
function missedSince(
  { life, number, resumableFrom, kept }: EventState,
  after: string,
  watch: Watch,
): readonly LoggedEvent[] | undefined {
  const [itsLife] = after.split('-')
  const last = numberIn(after)
  if (itsLife !== life || !(last >= resumableFrom && last <= number)) return undefined
  return kept.filter((event) => event.number > last && isWatched(event.view.job, watch))
}

/** Progress is told anew rather than kept: who comes back is shown where the jobs are by now. */
function progressSince(
  { progressed }: EventState,
  after: string | undefined,
  { jobId }: Watch,
): ReadonlyMap<JobId, 'step' | 'refresh'> {
  if (jobId) return new Map([[jobId, 'refresh']])
  const last = numberIn(after)
  return new Map(
    [...entries(progressed)].flatMap(([job, number]) =>
      number >= last ? [[job, 'step'] as const] : [],
    ),
  )
}

const numberIn = (id = ''): number => Number(id.split('-')[1])
