/** Rules for looks: when jobs are read, and who is shown what was found. */
import type { Scope } from '../../domain/client.ts'
import { isOpen, type JobId } from '../../domain/job.ts'
import { answer, answerFailed } from '../actor.ts'
import { remove, set } from '../ordered-map.ts'
import type {
  EventEffect,
  EventMessage,
  EventState,
  LiveEvent,
  LoggedEvent,
  Reason,
  Sight,
  Watch,
} from './event-protocol.ts'
import { type EventStep, idOf, isWatched, startAnew } from './event-state.ts'
import { seat } from './watch-rules.ts'

/** How many jobs are looked at in one go: whoever reads gets time to read before there are more. */
const jobsPerLook = 100

/** What an event takes besides the job's prompt, in characters. */
const eventCharacters = 1_000

/** One look at a time: what is told first was so first. */
export function lookIfDue(state: EventState): EventStep {
  if (state.looking || (state.due.size === 0 && state.joining.length === 0)) return [state, []]
  const reasons = new Map([...state.due].slice(0, jobsPerLook))
  const joining = state.joining.slice(0, jobsPerLook)
  const jobIds = new Set([
    ...reasons.keys(),
    ...joining.flatMap(({ jobId }) => (jobId ? [jobId] : [])),
  ])
  const open = distinct(joining.flatMap(({ jobId, scope }) => (jobId ? [] : [scope])))
  const number = state.looks + 1
  return [
    {
      ...state,
      due: new Map([...state.due].slice(jobsPerLook)),
      joining: state.joining.slice(jobsPerLook),
      looks: number,
      looking: { number, reasons, joining },
    },
    [{ do: 'look', number, jobIds: [...jobIds], open }],
  ]
}

export function seen(
  state: EventState,
  { look, sights, open }: Extract<EventMessage, { type: 'seen' }>,
): EventStep {
  const { looking, ...rest } = state
  // Else of before the log was begun anew.
  if (looking?.number !== look) return [state, []]
  let now: EventState = rest
  const effects: EventEffect[] = []
  for (const sight of sights) {
    const reason = looking.reasons.get(sight.view.job.id)
    const [next, more] = reason ? publish(now, sight, reason) : [now, []]
    now = next
    effects.push(...more)
  }
  const id = idOf(now, now.number)
  for (const { watcher, jobId, scope, replyTo } of looking.joining) {
    const one: Watch = { watcher, scope, ...(jobId && { jobId }) }
    const shown = jobId
      ? { sights: sights.filter(({ view }) => isWatched(view.job, one)), hasMore: false }
      : open.find((jobs) => isSame(jobs.scope, scope))
    if (!shown) continue
    const { sights: its, hasMore } = shown
    const [next, more] = seat(now, one)
    now = next
    effects.push(answer(replyTo, { how: 'snapshot', id, sights: its, hasMore }), ...more)
  }
  return [trim(now), effects]
}

function publish(state: EventState, sight: Sight, reason: Reason): EventStep {
  const { job } = sight.view
  const watching = state.watches.filter((one) => isWatched(job, one))
  if (reason === 'step' || reason === 'refresh') {
    // That it is over is news of another kind, and on its way.
    if (!isOpen(job)) return [state, []]
    const to = watching.filter((one) => one.jobId !== undefined || reason === 'step')
    const progressed = set(state.progressed, job.id, state.number)
    return [{ ...state, progressed }, tellAll(to, { type: 'progress', ...sight })]
  }
  const number = state.number + 1
  const type = isOpen(job) ? reason : 'status'
  const event: LoggedEvent = { type, number, id: idOf(state, number), ...sight }
  const kept = [...state.kept, event]
  const logged = { ...state, number, kept }
  return [isOpen(job) ? logged : withoutProgress(logged, job.id), tellAll(watching, event)]
}

const withoutProgress = (state: EventState, jobId: JobId): EventState => ({
  ...state,
  progressed: remove(state.progressed, jobId),
  stepped: remove(state.stepped, jobId),
})

const tellAll = (to: readonly Watch[], message: LiveEvent): EventEffect[] =>
  to.length === 0 ? [] : [{ do: 'tellWatchers', to, message }]

/** What happened meanwhile may never be known: nobody is left to believe that he has missed nothing. */
export function lookFailed(state: EventState, error: unknown): EventStep {
  const { looking, ...rest } = state
  const asked = [...(looking?.joining ?? []), ...state.joining]
  const [next, effects] = startAnew({ ...rest, joining: [] })
  return [
    next,
    [
      ...asked.map(({ replyTo }) => answerFailed(replyTo, 'the archive could not be asked', error)),
      ...effects,
      { do: 'logLookFailed', error },
    ],
  ]
}

/** Forgets the oldest for which there is no room any more. */
function trim(state: EventState): EventState {
  let room = state.settings.keptCharacters
  const last = state.kept.findLastIndex(({ view }) => {
    const { prompt, negativePrompt = '' } = view.job.request
    room -= eventCharacters + prompt.length + negativePrompt.length
    return room < 0
  })
  const forgotten = state.kept[last]
  if (!forgotten) return state
  return { ...state, kept: state.kept.slice(last + 1), resumableFrom: forgotten.number }
}

const isSame = (a: Scope, b: Scope): boolean => JSON.stringify(a) === JSON.stringify(b)

const distinct = (scopes: readonly Scope[]): readonly Scope[] =>
  scopes.filter((scope, index) => scopes.findIndex((other) => isSame(other, scope)) === index)
