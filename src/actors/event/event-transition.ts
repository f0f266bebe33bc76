import { covers, type Scope } from '../../domain/client.ts'
import { RefusalError } from '../../domain/errors.ts'
import { isOpen, type Job, type JobId } from '../../domain/job.ts'
import type {
  EventEffect,
  EventMessage,
  EventSettings,
  EventState,
  LiveEvent,
  LoggedEvent,
  Opening,
  Reason,
  Sight,
  Watch,
} from './event-protocol.ts'

export type EventStep = readonly [EventState, readonly EventEffect[]]

/** How many jobs are looked at in one go: whoever reads gets time to read before there are more. */
const jobsPerLook = 100

/** What an event takes besides the job's prompt, in characters. */
const eventCharacters = 1_000

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
    stepped: new Map(),
    progressed: new Map(),
    beating: false,
    refreshing: false,
  }
}

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
    case 'jobsChanged':
      return noteChanges(state, message.changes)
    case 'progressDue':
      return [
        {
          ...state,
          beating: false,
          stepped: new Map(),
          due: withReasons(state.due, state.stepped),
        },
        [],
      ]
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

function watch(state: EventState, asked: Extract<EventMessage, { type: 'watch' }>): EventStep {
  const { watches, joining, looking, settings } = state
  const { replyTo, watcher, jobId, scope, after } = asked
  const present = watches.length + joining.length + (looking?.joining.length ?? 0)
  if (present >= settings.maxWatchers) {
    const refusal = new RefusalError(
      'too_many_watchers',
      `${settings.maxWatchers} connections are waiting for events already; try again in a moment.`,
    )
    return [state, [{ do: 'answer', to: replyTo, answer: refusal }]]
  }
  const one: Watch = { watcher, scope, ...(jobId && { jobId }) }
  const missed = after === undefined ? undefined : missedSince(state, after, one)
  if (!missed) return [{ ...state, joining: [...joining, { ...one, replyTo }] }, []]

  const answer: Opening = { how: 'resumed', missed }
  const [resumed, effects] = seat(state, one)
  const [next, more] = beat(resumed, progressSince(state, after, one))
  return [next, [{ do: 'answer', to: replyTo, answer }, ...effects, ...more]]
}

function seat(state: EventState, one: Watch): EventStep {
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
    [...progressed].flatMap(([job, number]) => (number >= last ? [[job, 'step'] as const] : [])),
  )
}

const numberIn = (id = ''): number => Number(id.split('-')[1])

function unwatch(state: EventState, { watcher }: Pick<Watch, 'watcher'>): EventState {
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
  return beat({ ...state, due: withReasons(state.due, due) }, stepped)
}

/** Those who wait for one job see its place and its ETA move, though nothing happens to it. */
function refresh(state: EventState): EventStep {
  const watched = state.watches.flatMap(({ jobId }) => (jobId ? [jobId] : []))
  if (watched.length === 0) return [{ ...state, refreshing: false }, []]
  const [next, effects] = beat(state, new Map(watched.map((jobId) => [jobId, 'refresh'])))
  return [next, [...effects, { do: 'expectRefresh' }]]
}

function beat(state: EventState, more: ReadonlyMap<JobId, 'step' | 'refresh'>): EventStep {
  if (more.size === 0) return [state, []]
  const stepped = withReasons(state.stepped, more)
  return [{ ...state, stepped, beating: true }, state.beating ? [] : [{ do: 'expectBeat' }]]
}

/** One look at a time: what is told first was so first. */
function lookIfDue(state: EventState): EventStep {
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

function seen(
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
    effects.push(
      { do: 'answer', to: replyTo, answer: { how: 'snapshot', id, sights: its, hasMore } },
      ...more,
    )
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
    const progressed = new Map(state.progressed).set(job.id, state.number)
    return [{ ...state, progressed }, tellAll(to, { type: 'progress', ...sight })]
  }
  const number = state.number + 1
  const type = isOpen(job) ? reason : 'status'
  const event: LoggedEvent = { type, number, id: idOf(state, number), ...sight }
  const progressed = new Map(state.progressed)
  if (!isOpen(job)) progressed.delete(job.id)
  const kept = [...state.kept, event]
  return [{ ...state, number, kept, progressed }, tellAll(watching, event)]
}

const tellAll = (to: readonly Watch[], message: LiveEvent): EventEffect[] =>
  to.length === 0 ? [] : [{ do: 'tellWatchers', to, message }]

/** What happened meanwhile may never be known: nobody is left to believe that he has missed nothing. */
function lookFailed(state: EventState, error: unknown): EventStep {
  const { looking, ...rest } = state
  const asked = [...(looking?.joining ?? []), ...state.joining]
  const [next, effects] = startAnew({ ...rest, joining: [] })
  return [
    next,
    [
      ...asked.map((one) => ({ do: 'answerFailed', asked: one, error }) as const),
      ...effects,
      { do: 'logLookFailed', error },
    ],
  ]
}

/** Who comes back with an older id is shown how things are; who waits to be shown waits on. */
function startAnew({ looking, ...state }: EventState): EventStep {
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
      stepped: new Map(),
      progressed: new Map(),
    },
    state.watches.length === 0
      ? []
      : [{ do: 'tellWatchers', to: state.watches, message: { type: 'over' } }],
  ]
}

/** Forgets the oldest for which there is no room any more. */
function trim(state: EventState): EventState {
  let room = state.settings.keptCharacters
  const last = state.kept.findLastIndex(({ view }) => {
    room -= eventCharacters + view.job.request.prompt.length
    return room < 0
  })
  const forgotten = state.kept[last]
  if (!forgotten) return state
  return { ...state, kept: state.kept.slice(last + 1), resumableFrom: forgotten.number }
}

const isWatched = ({ id, owner }: Job, { jobId, scope }: Watch): boolean =>
  (jobId === undefined || jobId === id) && covers(scope, { jobId: id, owner })

const isSame = (a: Scope, b: Scope): boolean => JSON.stringify(a) === JSON.stringify(b)

const distinct = (scopes: readonly Scope[]): readonly Scope[] =>
  scopes.filter((scope, index) => scopes.findIndex((other) => isSame(other, scope)) === index)

const strength: readonly Reason[] = ['refresh', 'step', 'stage', 'status']

function withReasons<R extends Reason>(
  reasons: ReadonlyMap<JobId, R>,
  more: ReadonlyMap<JobId, R>,
): ReadonlyMap<JobId, R> {
  if (more.size === 0) return reasons
  const all = new Map(reasons)
  for (const [jobId, reason] of more) {
    const known = all.get(jobId)
    if (!known || strength.indexOf(known) < strength.indexOf(reason)) all.set(jobId, reason)
  }
  return all
}

const idOf = ({ life }: EventState, number: number): string => `${life}-${number}`
