import type { JobId } from '../../domain/job.ts'
import { answer } from '../actor.ts'
import { entries, set } from '../ordered-map.ts'
import type { EventMessage, EventState, Reason } from './event-protocol.ts'
import { beat, type EventStep, startAnew, withReasons } from './event-state.ts'
import { lookFailed, lookIfDue, seen } from './look-rules.ts'
import { unwatch, watch, watchersOf } from './watch-rules.ts'

/** Every rule of what is told live, with no connection, store or clock in sight. */
export function transition(state: EventState, message: EventMessage): EventStep {
  const [next, effects] = decide(state, message)
  const [looking, look] = lookIfDue(next)
  return [looking, [...effects, ...look]]
}

function decide(state: EventState, message: EventMessage): EventStep {
  switch (message.type) {
    case 'watch':
      return watch(state, message)
    case 'unwatch':
      return [unwatch(state, message), []]
    case 'countWatchers':
      return [state, [answer(message.replyTo, watchersOf(state, message.jobId))]]
    case 'jobsChanged':
      return noteChanges(state, message.changes)
    case 'progressDue':
      return [progressDue(state), []]
    case 'refreshDue':
      return refresh(state)
    case 'seen':
      return seen(state, message)
    case 'lookFailed':
      return message.look === state.looking?.number ? lookFailed(state, message.error) : [state, []]
    case 'queueRestored':
      return startAnew(state)
    case 'close':
      return startAnew(state)
  }
}

function noteChanges(
  state: EventState,
  changes: Extract<EventMessage, { type: 'jobsChanged' }>['changes'],
): EventStep {
  const stepped = new Map<JobId, 'step'>()
  const due = new Map<JobId, Reason>()
  for (const [jobId, change] of changes) {
    if (change === 'step') stepped.set(jobId, change)
    else due.set(jobId, change)
  }
  const noted = due.size === 0 ? state : { ...state, due: withReasons(state.due, due) }
  return beat(noted, stepped)
}

/** While nobody watches, no job is read for its steps, which would cost more than everything else in a large cluster. */
function progressDue({ stepped, ...rest }: EventState): EventState {
  const state = { ...rest, beating: false, stepped: undefined }
  if (isObserved(state)) return { ...state, due: withReasons(state.due, entries(stepped)) }
  let { progressed } = state
  for (const [jobId] of entries(stepped)) progressed = set(progressed, jobId, state.number)
  return { ...state, progressed }
}

const isObserved = ({ watches, joining, looking }: EventState): boolean =>
  watches.length > 0 || joining.length > 0 || (looking?.joining.length ?? 0) > 0

/** Those who wait for one job see its place and its ETA move, though nothing happens to it. */
function refresh(state: EventState): EventStep {
  const watched = state.watches.flatMap(({ jobId }) => (jobId ? [jobId] : []))
  if (watched.length === 0) return [{ ...state, refreshing: false }, []]
  const [next, effects] = beat(state, new Map(watched.map((jobId) => [jobId, 'refresh'])))
  return [next, [...effects, { do: 'expectRefresh' }]]
}
