import type { Scope } from '../../domain/client.ts'
import type { JobId } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import {
  type ActorRef,
  type AnswerEffect,
  actorOf,
  ask,
  type Behaviour,
  pipe,
  tell,
  tellAskerItFailed,
  tellLater,
} from '../actor.ts'
import type { JobFilter } from '../archive/archive-ports.ts'
import type { ArchiveMessage } from '../archive/archive-protocol.ts'
import type { Estimate, EtaMessage } from '../eta/eta-protocol.ts'
import type { JobView } from '../queue/queue-protocol.ts'
import type {
  EventEffect,
  EventMessage,
  EventSettings,
  EventState,
  Sight,
} from './event-protocol.ts'
import { startLog } from './event-state.ts'
import { transition } from './event-transition.ts'

export type EventActorOptions = Readonly<{
  archive: ActorRef<ArchiveMessage>
  eta: ActorRef<EtaMessage>
  log: Logger
  settings?: EventSettings
  /** No job's progress is told more often. */
  beatMs?: number
  /** How often place and ETA are told to those who wait for one job. */
  refreshMs?: number
}>

const openJobs: JobFilter = { status: ['queued', 'running'], order: 'asc', limit: 200 }

/** Owns the log of events: looks at what has changed, and tells those who watch. */
export function eventBehaviour({
  archive,
  eta,
  log,
  settings = { keptCharacters: 2_000_000, maxWatchers: 2_000 },
  beatMs = 1_000,
  refreshMs = 5_000,
}: EventActorOptions): Behaviour<EventState, EventMessage> {
  return actorOf<EventState, EventMessage, EventEffect>({
    initial: [startLog(settings, crypto.randomUUID().slice(0, 8)), []],
    transition,
    perform,
    terminate({ watches, joining, looking }) {
      for (const { watcher } of watches) tell(watcher, { type: 'over' })
      for (const asked of [...(looking?.joining ?? []), ...joining])
        tellAskerItFailed(asked, 'the log of events ended before it could answer')
    },
  })

  function perform(effect: Exclude<EventEffect, AnswerEffect>, self: ActorRef<EventMessage>): void {
    switch (effect.do) {
      case 'look': {
        const { number } = effect
        pipe(
          self,
          look(effect),
          (found) => ({ type: 'seen', look: number, ...found }),
          (error) => ({ type: 'lookFailed', look: number, error }),
        )
        break
      }
      case 'tellWatchers':
        for (const watch of effect.to) {
          // Gone, or too slow: nothing waits for it here.
          if (!tell(watch.watcher, effect.message))
            tell(self, { type: 'unwatch', watcher: watch.watcher })
        }
        break
      case 'expectBeat':
        tellLater(self, beatMs, { type: 'progressDue' })
        break
      case 'expectRefresh':
        tellLater(self, refreshMs, { type: 'refreshDue' })
        break
      case 'logLookFailed':
        log.warn({ err: effect.error }, 'changes were missed; those who watch are shown anew')
        break
      default:
        effect satisfies never
    }
  }

  async function look({ jobIds, open }: Extract<EventEffect, { do: 'look' }>) {
    const scope: Scope = 'everything'
    const asked = ask(archive, { type: 'findMany', jobIds, scope })
    const listed = open.map((scope) => ask(archive, { type: 'list', filter: openJobs, scope }))
    const [views, pages] = await Promise.all([asked, Promise.all(listed)])
    const ids = [views, ...pages.map(({ jobs }) => jobs)].flat().map(({ job }) => job.id)
    // Without estimates, while their actor is being restarted, a job is still a job.
    const estimates = await ask(eta, { type: 'estimate', jobIds: ids }).catch(
      () => new Map<JobId, Estimate>(),
    )
    const sight = (view: JobView): Sight => {
      const estimate = estimates.get(view.job.id)
      return { view, ...(estimate && { estimate }) }
    }
    return {
      sights: views.map(sight),
      open: pages.flatMap(({ jobs, hasMore }, index) => {
        const scope = open[index]
        return scope ? [{ scope, sights: jobs.map(sight), hasMore }] : []
      }),
    }
  }
}
