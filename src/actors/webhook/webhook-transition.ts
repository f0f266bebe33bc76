import type { Timestamp } from '../../domain/job.ts'
import { dayMs } from '../../domain/time.ts'
import { judge } from './delivery-rules.ts'
import type { DueDelivery, Settlement } from './webhook-ports.ts'
import type { WebhookMessage, WebhookNews } from './webhook-protocol.ts'
import type { WebhookEffect, WebhookState, WebhookStep } from './webhook-state.ts'

export const initialWebhookState: WebhookState = {
  looking: false,
  lookAgain: false,
  inFlight: new Map(),
  suspects: new Map(),
}

const maxAtOnce = 64
const perReceiver = 4
/** However many receivers are dead, most of the connections are for the others. */
const maxForSuspects = 16
/** A dead receiver is tried no more often than its messages' back-off says, and found alive again this soon. */
const maxPauseMs = 30_000

const lookAtLeastEveryMs = 60_000
const keepMs = 30 * dayMs

const unprepared = 'It could not be made ready; the log says why.'

/** Rules of the actor. Pure: uses no connection, store or clock. */
export function transition(
  state: WebhookState,
  message: WebhookMessage,
  at: Timestamp,
): WebhookStep {
  switch (message.type) {
    case 'register':
    case 'remove':
    case 'rotate':
    case 'enable':
    case 'test':
    case 'replay':
      return [state, [{ do: 'execute', command: message, at }]]
    case 'list':
    case 'find':
    case 'deliveries':
    case 'describeOutbox':
      return [state, [{ do: 'query', question: message }]]
    case 'deliveriesAdded':
      return look(state, at)
    case 'lookDue':
      return message.at === state.wakeAt ? look(state, at) : [state, []]
    case 'found':
      return found(state, message.due, at)
    case 'lookFailed': {
      const [next, effects] = sleepUntil(
        { ...state, looking: false, lookAgain: false },
        at + 1_000,
        at,
      )
      return [next, [...effects, { do: 'logTrouble', trouble: 'reading', error: message.error }]]
    }
    case 'attempted':
      return attempted(state, message, at)
    case 'preparationFailed': {
      const { delivery, error, random } = message
      const result = { how: 'failed', error: unprepared } as const
      const [next, effects] = attempted(state, { delivery, result, random }, at)
      return [next, [{ do: 'logUnprepared', id: delivery.id, error }, ...effects]]
    }
    case 'settled': {
      const inFlight = new Map(state.inFlight)
      inFlight.delete(message.id)
      return look({ ...state, inFlight }, at)
    }
    // It stays in flight: what is delivered but not noted down would be sent again at once.
    case 'settlingFailed': {
      const { id, settlement, error } = message
      return [
        state,
        [
          { do: 'logTrouble', trouble: 'writing', error },
          { do: 'settleLater', id, settlement },
        ],
      ]
    }
    case 'settlingDue': {
      const { id, settlement } = message
      return [state, [{ do: 'settle', id, settlement }]]
    }
    case 'tidyDue':
      return [state, tidy(at)]
    case 'tidyFailed':
      return [state, [{ do: 'logTidyFailure', error: message.error }]]
    default:
      return message satisfies never
  }
}

/** State and effects of a new incarnation: it sends what is pending, and tidies. */
export function startWebhooks(at: Timestamp): WebhookStep {
  const [state, looks] = look(initialWebhookState, at)
  return [state, [...looks, ...tidy(at)]]
}

const tidy = (at: Timestamp): readonly WebhookEffect[] => [
  { do: 'tidy', before: at - keepMs },
  { do: 'tidyLater' },
]

function look(state: WebhookState, at: Timestamp): WebhookStep {
  if (state.looking) return [{ ...state, lookAgain: true }, []]
  return [
    { ...state, looking: true, lookAgain: false },
    [
      {
        do: 'look',
        inFlight: [...state.inFlight.keys()],
        notTo: [...state.suspects].flatMap(([receiver, until]) => (until > at ? [receiver] : [])),
        perReceiver,
      },
    ],
  ]
}

function found(
  state: WebhookState,
  { deliveries, nextAt }: Extract<WebhookNews, { type: 'found' }>['due'],
  at: Timestamp,
): WebhookStep {
  const inFlight = new Map(state.inFlight)
  const sends: WebhookEffect[] = []
  for (const delivery of deliveries) {
    if (inFlight.has(delivery.id) || !hasRoomFor(delivery, inFlight, state.suspects, at)) continue
    inFlight.set(delivery.id, delivery.receiver)
    sends.push({ do: 'send', delivery })
  }
  const done = { ...state, inFlight, looking: false }
  const pauses = [...state.suspects.values()].filter((until) => until > at)
  const wakeAt = Math.min(...pauses, nextAt ?? at + lookAtLeastEveryMs, at + lookAtLeastEveryMs)
  const [next, effects] = state.lookAgain ? look(done, at) : sleepUntil(done, wakeAt, at)
  return [next, [...sends, ...effects]]
}

function hasRoomFor(
  { receiver }: DueDelivery,
  inFlight: ReadonlyMap<unknown, string>,
  suspects: WebhookState['suspects'],
  at: Timestamp,
): boolean {
  const receivers = [...inFlight.values()]
  if (receivers.length >= maxAtOnce) return false
  const its = receivers.filter((other) => other === receiver).length
  const until = suspects.get(receiver)
  if (until === undefined) return its < perReceiver
  return (
    until <= at &&
    its === 0 &&
    receivers.filter((other) => suspects.has(other)).length < maxForSuspects
  )
}

function sleepUntil(state: WebhookState, wakeAt: Timestamp, at: Timestamp): WebhookStep {
  return [{ ...state, wakeAt }, [{ do: 'lookLater', at: wakeAt, withinMs: wakeAt - at }]]
}

function attempted(
  state: WebhookState,
  { delivery, result, random }: Omit<Extract<WebhookNews, { type: 'attempted' }>, 'type'>,
  at: Timestamp,
): WebhookStep {
  const { id, event, since, receiver } = delivery
  const attempts = delivery.attempts + 1
  const verdict = judge({ event, since, attempts }, result, at, random)
  const suspects = new Map(state.suspects)
  if (verdict.become === 'pending')
    suspects.set(receiver, Math.min(verdict.nextAt, at + maxPauseMs))
  else suspects.delete(receiver)
  const settlement: Settlement = { ...verdict, at, attempts, result }
  return [
    { ...state, suspects },
    [
      { do: 'settle', id, settlement },
      { do: 'logAttempt', delivery, settlement },
    ],
  ]
}
