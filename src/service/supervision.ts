/** Actors below a supervisor: what is logged of them, and what a crash means to others. */
import type { ActorRef, ActorSystem, Place } from '../actors/actor.ts'
import { type Child, startSupervisor } from '../actors/supervisor/supervisor.ts'
import type {
  SupervisorEvent,
  SupervisorMessage,
} from '../actors/supervisor/supervisor-protocol.ts'
import type { Logger } from '../domain/log.ts'

export type SupervisionOptions = Readonly<{
  children: readonly Child[]
  /** Where others reach the supervisor. */
  places: readonly Place<SupervisorMessage>[]
  /** An actor has ended, and nobody asked for that. */
  tellGone(id: string, givenUp: boolean): void
  /** A part that the service cannot do without was given up. */
  onGivenUp(id: string): void
  log: Logger
}>

export function supervise(
  system: ActorSystem,
  { children, places, tellGone, onGivenUp, log }: SupervisionOptions,
): ActorRef<SupervisorMessage> {
  const supervisor = startSupervisor(system, children, (event) => {
    logEvent(log, event)
    // A restart by an operator is followed by an event of its own.
    if (event.type === 'childRestartAsked') return
    tellGone(event.id, event.type === 'childGivenUp')
    if (event.type === 'childGivenUp' && event.significant) onGivenUp(event.id)
  })
  for (const place of places) place.seat(supervisor)
  return supervisor
}

function logEvent(log: Logger, event: SupervisorEvent): void {
  const { type, id, ...rest } = event
  const fields = { actor: id, ...rest, ...('error' in event && { err: event.error }) }
  if (type === 'childRestartAsked') log.info(fields, 'actor restart asked for')
  else if (type === 'childStopped') log[event.killed ? 'warn' : 'info'](fields, 'actor stopped')
  else if (type === 'childFailed') log.error(fields, 'actor crashed; it will be started again')
  else log.error(fields, 'actor crashed too often and was given up')
}
