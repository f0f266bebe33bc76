import { dayMs } from '../../domain/time.ts'
import type { Now, Steady } from './delivery-clock.ts'
import { judge } from './delivery-rules.ts'
import {
  chooseDeliveries,
  dueFilter,
  endOfPause,
  failingSince,
  maxQuickMs,
  type Standing,
  withStanding,
} from './dispatch-rules.ts'
import { type KnownClient, whyWithheld } from './registrant-rules.ts'
import type { DueDelivery, Settlement, Verdict } from './webhook-ports.ts'
import type { WebhookMessage, WebhookNews } from './webhook-protocol.ts'
import type { WebhookEffect, WebhookState, WebhookStep } from './webhook-state.ts'

export const initialWebhookState = (clients: readonly KnownClient[]): WebhookState => ({
  clients,
  looking: false,
  lookAgain: false,
  inFlight: new Map(),
  withheld: new Set(),
  standings: new Map(),
  restUntil: 0,
})

/** A failing receiver is tried no more often than its messages' back-off says, and found alive again this soon. */
const maxPauseMs = 30_000

const lookAtLeastEveryMs = 60_000

/** A look at a large backlog takes a while: looks are at most a fifth of the time. */
const maxQuickLookMs = 5
const restPerLook = 4
const maxRestMs = 2_000

const keepMs = 30 * dayMs

/** The age of a delivery is off by this at most, and an idle service writes this seldom. */
const keepClockEveryMs = 10 * 60_000

const unprepared = 'It could not be made ready; the log says why.'

/** Rules of the actor. Pure: uses no connection, store or clock. */
export function transition(state: WebhookState, message: WebhookMessage, now: Now): WebhookStep {
  switch (message.type) {
    case 'register':
    case 'remove':
    case 'rotate':
    case 'enable':
    case 'test':
    case 'replay':
      return [state, [{ do: 'execute', command: message, now }]]
    case 'list':
    case 'find':
    case 'deliveries':
    case 'describeOutbox':
      return [state, [{ do: 'query', question: message, now }]]
    case 'deliveriesAdded':
      return look(state, now)
    case 'lookDue':
      return message.at === state.wakeAt ? look(state, now) : [state, []]
    case 'failuresRecalled': {
      const standings = failingSince(message.lines, now.steady)
      return look({ ...state, standings, looking: false }, now)
    }
    case 'recallFailed': {
      const [next, effects] = look({ ...state, looking: false }, now)
      return [next, [{ do: 'logTrouble', trouble: 'reading', error: message.error }, ...effects]]
    }
    case 'found':
      return found(state, message, now)
    case 'lookFailed': {
      const [next, effects] = sleepUntil(
        { ...state, looking: false, lookAgain: false },
        now.steady + 1_000,
        now,
      )
      return [next, [...effects, { do: 'logTrouble', trouble: 'reading', error: message.error }]]
    }
    case 'attempted':
      return attempted(state, message, now)
    case 'preparationFailed': {
      const { delivery, error, random } = message
      const result = { how: 'failed', error: unprepared } as const
      const [next, effects] = attempted(state, { delivery, result, tookMs: 0, random }, now)
      return [next, [{ do: 'logUnprepared', id: delivery.id, error }, ...effects]]
    }
    case 'settled': {
      const inFlight = new Map(state.inFlight)
      inFlight.delete(message.id)
      const withheld = new Set(state.withheld)
      withheld.delete(message.id)
      return look({ ...state, inFlight, withheld }, now)
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
      return [state, tidy(now)]
    case 'tidyFailed':
      return [state, [{ do: 'logTidyFailure', error: message.error }]]
    case 'clockNotKept': {
      const { clockKeptAt: _, ...rest } = state
      return [rest, [{ do: 'logClockFailure', error: message.error }]]
    }
    default:
      return message satisfies never
  }
}

/** State and effects of a new incarnation: it sends what is pending, and tidies. */
export const startWebhooks = (clients: readonly KnownClient[], now: Now): WebhookStep => [
  { ...initialWebhookState(clients), looking: true },
  [{ do: 'recallFailures' }, ...tidy(now)],
]

/** A wall clock that is ahead deletes nothing: by the steady clock it is not time yet. */
const tidy = ({ at, steady }: Now): readonly WebhookEffect[] => [
  { do: 'tidy', before: Math.min(at, steady) - keepMs },
  { do: 'tidyLater' },
]

function look(state: WebhookState, now: Now): WebhookStep {
  if (state.looking) return [{ ...state, lookAgain: true }, []]
  const { steady } = now
  if (steady < state.restUntil)
    return sleepUntil({ ...state, lookAgain: false }, state.restUntil, now)
  const { clockKeptAt, inFlight, withheld, standings } = state
  const filter = dueFilter(inFlight, standings, steady)
  const isKept = clockKeptAt !== undefined && steady - clockKeptAt < keepClockEveryMs
  return [
    { ...state, looking: true, lookAgain: false, clockKeptAt: isKept ? clockKeptAt : steady },
    [
      ...(isKept ? [] : [{ do: 'keepClock', now } as const]),
      { do: 'look', steady, ...filter, inFlight: [...filter.inFlight, ...withheld] },
    ],
  ]
}

function found(
  state: WebhookState,
  { due: { deliveries, nextAt }, tookMs }: Extract<WebhookNews, { type: 'found' }>,
  now: Now,
): WebhookStep {
  const { steady } = now
  const [checked, refusals, allowed] = refuseWithheld(state, deliveries, now)
  const inFlight = new Map(checked.inFlight)
  const sends: WebhookEffect[] = []
  for (const { delivery, ...flight } of chooseDeliveries(
    allowed,
    inFlight,
    state.standings,
    steady,
  )) {
    inFlight.set(delivery.id, flight)
    sends.push({ do: 'send', delivery })
  }
  const restMs = tookMs > maxQuickLookMs ? Math.min(tookMs * restPerLook, maxRestMs) : 0
  const done = { ...checked, inFlight, looking: false, restUntil: steady + restMs }
  const wakeAt = Math.min(
    endOfPause(state.standings, steady) ?? Number.POSITIVE_INFINITY,
    nextAt ?? Number.POSITIVE_INFINITY,
    steady + lookAtLeastEveryMs,
  )
  const [next, effects] = state.lookAgain ? look(done, now) : sleepUntil(done, wakeAt, now)
  return [next, [...refusals, ...sends, ...effects]]
}

/** Ends deliveries to webhooks whose registrant may not receive them: they need no connection. */
function refuseWithheld(
  state: WebhookState,
  due: readonly DueDelivery[],
  now: Now,
): readonly [...WebhookStep, allowed: readonly DueDelivery[]] {
  const withheld = new Set(state.withheld)
  const effects: WebhookEffect[] = []
  const allowed: DueDelivery[] = []
  for (const delivery of due) {
    const why = whyWithheld(delivery, state.clients)
    if (why === undefined) {
      allowed.push(delivery)
    } else if (!withheld.has(delivery.id) && !state.inFlight.has(delivery.id)) {
      withheld.add(delivery.id)
      const { webhookId, attempts } = delivery
      const error = `Not sent. ${why} POST /webhook/${webhookId}/enable by an admin resumes the webhook.`
      const verdict = { become: 'failed', gone: false } as const
      effects.push(...settle(delivery, verdict, attempts, { how: 'failed', error }, now))
    }
  }
  return [{ ...state, withheld }, effects, allowed]
}

function sleepUntil(state: WebhookState, wakeAt: Steady, { steady }: Now): WebhookStep {
  return [{ ...state, wakeAt }, [{ do: 'lookLater', at: wakeAt, withinMs: wakeAt - steady }]]
}

function attempted(
  state: WebhookState,
  { delivery, result, tookMs, random }: Omit<Extract<WebhookNews, { type: 'attempted' }>, 'type'>,
  now: Now,
): WebhookStep {
  const { event, since, line } = delivery
  const attempts = delivery.attempts + 1
  const verdict = judge({ event, since, attempts }, result, now.steady, random)
  const standings = withStanding(state.standings, line, standingAfter(verdict, tookMs, now.steady))
  return [{ ...state, standings }, settle(delivery, verdict, attempts, result, now)]
}

function standingAfter(verdict: Verdict, tookMs: number, steady: Steady): Standing | undefined {
  switch (verdict.become) {
    case 'delivered':
      return tookMs <= maxQuickMs ? { is: 'proven' } : undefined
    case 'pending':
      return { is: 'failing', until: Math.min(verdict.nextAt, steady + maxPauseMs) }
    case 'failed':
      return { is: 'failing', until: steady }
  }
}

const settle = (
  delivery: DueDelivery,
  verdict: Verdict,
  attempts: number,
  result: Settlement['result'],
  { at }: Now,
): readonly WebhookEffect[] => {
  const settlement: Settlement = { ...verdict, at, attempts, result }
  return [
    { do: 'settle', id: delivery.id, settlement },
    { do: 'logAttempt', delivery, settlement },
  ]
}
