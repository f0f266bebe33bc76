import { setTimeout as delay } from 'node:timers/promises'
import { type ActorRef, ask, refOf, tell } from '../../actors/actor.ts'
import type { EventMessage, LiveMessage } from '../../actors/event/event-protocol.ts'
import type { JobView } from '../../actors/queue/queue-protocol.ts'
import type { Scoped } from '../../domain/client.ts'
import { isOpen } from '../../domain/job.ts'
import { orThrow } from './outcome.ts'

/** The same as long as status, stage and step are: what a poll waits for the end of. */
export const tagOf = ({ job: { epoch, state }, reading }: JobView): string => {
  const phase = state.status === 'running' ? state.phase : ''
  return `W/"${epoch}.${state.status}.${phase}.${reading?.stage ?? ''}.${reading?.step ?? ''}"`
}

export type PollOptions = Scoped & Readonly<{ tag: string; waitMs: number; signal: AbortSignal }>

/** Resolves with the job once it is no longer as `tag` says; `undefined` when time is up before. */
export async function waitForChange(
  events: ActorRef<EventMessage>,
  view: JobView,
  { tag, waitMs, scope, signal }: PollOptions,
): Promise<JobView | undefined> {
  if (tagOf(view) !== tag || !isOpen(view.job)) return view
  if (waitMs === 0) return undefined
  const { id: jobId } = view.job
  const { promise, resolve } = Promise.withResolvers<JobView | undefined>()
  const isNews = (now: JobView) => tagOf(now) !== tag
  const watcher = refOf<LiveMessage>('a poll', (message) => {
    if (message.type === 'over') resolve(undefined)
    else if (isNews(message.view)) resolve(message.view)
    return true
  })
  const stop = () => resolve(undefined)
  const timer = setTimeout(stop, waitMs)
  if (signal.aborted) stop()
  signal.addEventListener('abort', stop)
  try {
    const opening = orThrow(await ask(events, { type: 'watch', jobId, scope, watcher }))
    const [now] = opening.how === 'snapshot' ? opening.sights : []
    if (now && isNews(now.view)) return now.view
    return await promise
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
    tell(events, { type: 'unwatch', watcher })
  }
}

/** Resolves with the job once it is over; `undefined` when time is up, or whoever waited has gone. */
export async function waitForEnd(
  events: ActorRef<EventMessage>,
  view: JobView,
  { waitMs, find, ...options }: Omit<PollOptions, 'tag'> & { find(): Promise<JobView> },
): Promise<JobView | undefined> {
  const until = performance.now() + waitMs
  let latest = view
  while (isOpen(latest.job)) {
    const leftMs = until - performance.now()
    if (leftMs <= 0 || options.signal.aborted) return undefined
    const poll = { ...options, tag: tagOf(latest), waitMs: leftMs }
    const changed = await waitForChange(events, latest, poll)
    // Whoever tells of changes may have to begin anew: it is given a moment.
    if (!changed) await delay(Math.min(200, Math.max(0, until - performance.now())))
    latest = changed ?? (await find())
  }
  return latest
}
