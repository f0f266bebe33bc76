import type { HttpBindings } from '@hono/node-server'
import { type Context, Hono } from 'hono'
import * as v from 'valibot'
import { ActorFailedError, type ActorRef, ask, tell } from '../../actors/actor.ts'
import type { ArchiveMessage } from '../../actors/archive/archive-protocol.ts'
import type { EventMessage, LiveEvent, Opening, Sight } from '../../actors/event/event-protocol.ts'
import { jobNotFound } from '../../domain/errors.ts'
import { isOpen, type JobId } from '../../domain/job.ts'
import type { Observe } from '../../domain/observation.ts'
import type { ClientEnv } from '../request/client-env.ts'
import type { Memory } from '../request/lane.ts'
import { IdParam } from '../request/parameters.ts'
import { route } from '../request/route.ts'
import { myTurn } from '../request/turns.ts'
import {
  bytesOfSights,
  createReader,
  eventStreamHeaders,
  type Frame,
  frameText,
  retryHint,
  streamOf,
} from '../response/event-stream.ts'
import { found, orThrow } from '../response/outcome.ts'
import type { createJobRenderer } from '../views/job-view.ts'

export type EventRoutesOptions = Readonly<{
  archive: ActorRef<ArchiveMessage>
  events: ActorRef<EventMessage>
  render: ReturnType<typeof createJobRenderer>
  /** Between signs of life, which keep proxies from giving up on a silent connection. */
  heartbeatMs: number
  observe: Observe
  memory: Memory
}>

/** Characters that a stream begins with before others get their turn: a millisecond of work. */
const maxInOneTurn = 64 * 1024

/** The id of a job's last event: whoever comes back with it is told not to come again. */
const lastId = 'over'

const stream = {
  tag: 'jobs',
  details: 'Server-sent events: first a `snapshot`, or what was missed since `Last-Event-ID`.',
  headers: { 'Last-Event-ID': 'of the last event that you have had' },
  answers: { 200: { means: 'Events', mediaTypes: ['text/event-stream; charset=utf-8'] } },
  refusals: ['too_many_watchers'],
} as const

/** What happens, as it happens. */
export function eventRoutes(options: EventRoutesOptions) {
  const { archive, events, render, heartbeatMs, observe, memory } = options
  const json = createEventText(render)
  const shareOf = createShares()

  return new Hono<EventEnv>()
    .get(
      '/events',
      route({
        ...stream,
        id: 'followJobs',
        access: 'client',
        summary: 'What happens to all jobs, as it happens',
      }),
      async (c) => {
        // Each stream begins with all open jobs.
        if (memory.isShort()) return comeAgain(c)
        const sent = (event: LiveEvent): Frame => ({
          event: event.type,
          ...('id' in event && { id: event.id }),
          data: json(event),
        })
        // One line of data, which may not be broken.
        const snapshot = ({ id, sights, hasMore }: Snapshot): Piece[] => [
          () => ({ text: `event: snapshot\nid: ${id}\ndata: {"jobs":[` }),
          ...sights.map((sight, index) => () => ({
            text: `${index > 0 ? ',' : ''}${json(sight)}`,
          })),
          () => ({ text: `],"has_more":${hasMore}}\n\n` }),
        ]
        return follow(c, undefined, { snapshot, sent, isLast: () => false })
      },
    )

    .get(
      '/jobs/:id/events',
      route({
        ...stream,
        id: 'followJob',
        access: 'client',
        summary: 'What happens to a job, as it happens',
        params: v.object({ id: IdParam }),
        answers: { ...stream.answers, 204: { means: 'You have had its last event' } },
        refusals: [...stream.refusals, 'job_not_found'],
      }),
      async (c) => {
        const { id: jobId } = c.req.valid('param')
        const asked = ask(archive, { type: 'find', jobId, scope: c.var.scope })
        const view = found(await orLater(asked), () => jobNotFound(jobId))
        if (view === 'later') return comeAgain(c)
        if (c.req.header('Last-Event-ID') === lastId) return c.body(null, 204)
        if (!isOpen(view.job)) {
          const frame = { event: 'snapshot', id: lastId, data: json({ view }) }
          return c.body(retryHint + frameText(frame), 200, eventStreamHeaders)
        }
        const sent = (event: LiveEvent): Frame => ({
          event: event.type,
          ...('id' in event && { id: isOpen(event.view.job) ? event.id : lastId }),
          data: json(event),
        })
        const snapshot = ({ id, sights: [sight] }: Snapshot): Piece[] => {
          const shown = sight ?? { view }
          const its = isOpen(shown.view.job) ? id : lastId
          const text = frameText({ event: 'snapshot', id: its, data: json(shown) })
          return [() => ({ text, isLast: its === lastId })]
        }
        return follow(c, jobId, { snapshot, sent, isLast: ({ id }) => id === lastId })
      },
    )

  /** Begins with what was missed, or with how things are, and goes on until the last event. */
  async function follow(
    c: Context<EventEnv>,
    jobId: JobId | undefined,
    { snapshot, sent, isLast }: Wording,
  ): Promise<Response> {
    // There is nobody to read it, and so nobody to stop reading it.
    if (c.req.method === 'HEAD') return c.body(null, 200, eventStreamHeaders)
    const { signal } = c.req.raw
    const reader = createReader({
      heartbeatMs,
      letGo: () => c.env.outgoing.destroy(),
      onClosed() {
        tell(events, { type: 'unwatch', watcher: reader.watcher })
        observe({ saw: 'eventStreamClosed' })
      },
    })
    observe({ saw: 'eventStreamOpened' })
    signal.addEventListener('abort', reader.close)
    const after = c.req.header('Last-Event-ID')
    const asked = ask(events, {
      type: 'watch',
      watcher: reader.watcher,
      scope: c.var.scope,
      ...(jobId && { jobId }),
      ...(after && { after }),
    }).then(orThrow)
    const opening = await orLater(asked).catch((error: unknown) => {
      reader.close()
      throw error
    })
    if (opening === 'later') {
      reader.close()
      return comeAgain(c)
    }
    const share = shareOf(opening.how === 'resumed' ? opening.missed : opening.sights)
    const missed = (event: LiveEvent) => () => {
      const frame = sent(event)
      return { text: frameText(frame), isLast: isLast(frame) }
    }
    // A stream lasts for hours: each piece is dropped when it has been sent, with the job that it shows.
    const pieces: Piece[] =
      opening.how === 'resumed' ? opening.missed.map(missed) : snapshot(opening)
    c.env.outgoing.waitingBytes = () => share.bytes() + reader.waitingBytes()
    if (signal.aborted) reader.close()
    return c.body(streamOf(frames()), 200, eventStreamHeaders)

    async function* frames(): AsyncGenerator<string> {
      try {
        yield retryHint
        let sinceTurn = 0
        for (let piece = pieces.shift(); piece; piece = pieces.shift()) {
          const { text, isLast } = piece()
          yield text
          if (isLast) return
          sinceTurn += text.length
          if (sinceTurn < maxInOneTurn) continue
          await myTurn()
          sinceTurn = 0
        }
        share.end()
        for await (const item of reader.waiting) {
          const frame = typeof item === 'string' ? undefined : sent(item)
          yield frame ? frameText(frame) : (item as string)
          if (frame && isLast(frame)) return
        }
      } finally {
        share.end()
        reader.close()
      }
    }
  }
}

/** Readers that opened together share the jobs that their streams begin with, until each has sent them. */
function createShares() {
  const known = new WeakMap<readonly Sight[], { users: number }>()
  return (sights: readonly Sight[]) => {
    const share = known.get(sights) ?? { users: 0 }
    known.set(sights, share)
    share.users += 1
    let bytes = bytesOfSights(sights)
    return {
      bytes: () => bytes / Math.max(1, share.users),
      end() {
        if (bytes > 0) share.users -= 1
        bytes = 0
      },
    }
  }
}

/** A part of the service that is being restarted will answer in a moment. */
const orLater = <Answer>(asked: Promise<Answer>): Promise<Answer | 'later'> =>
  asked.catch((error: unknown) => {
    if (error instanceof ActorFailedError) return 'later'
    throw error
  })

/** An empty stream: upon an error a browser would give up for good. */
const comeAgain = (c: Context<EventEnv>): Response => c.body(retryHint, 200, eventStreamHeaders)

type EventEnv = ClientEnv & { Bindings: HttpBindings }

type Snapshot = Extract<Opening, { how: 'snapshot' }>

/** Renders a part of how a stream begins. */
type Piece = () => Readonly<{ text: string; isLast?: boolean }>

type Wording = Readonly<{
  /** In pieces: many jobs are rendered as fast as they are read. */
  snapshot(opening: Snapshot): Piece[]
  sent(event: LiveEvent): Frame
  /** Nothing can come after it. */
  isLast(frame: Pick<Frame, 'id'>): boolean
}>

/** However many read it, an event is rendered once. */
function createEventText(render: EventRoutesOptions['render']) {
  const texts = new WeakMap<Sight, string>()
  return (sight: Sight): string => {
    const known = texts.get(sight)
    if (known !== undefined) return known
    const text = JSON.stringify(render.job(sight.view, sight.estimate))
    texts.set(sight, text)
    return text
  }
}
