import { isDeepStrictEqual } from 'node:util'
import type { Step } from '../../../actors/actor.ts'
import type { GenerationResult } from '../../../actors/gpu/gpu-ports.ts'
import { isExhausted, saysDiskFull } from '../../../domain/failures.ts'
import type { Timestamp } from '../../../domain/job.ts'
import type { Claim } from '../../processes/shim-client.ts'
import { resultOf, resultOfEnd } from './attempt-result.ts'
import type {
  AttemptEffect,
  AttemptEvent,
  AttemptState,
  Facts,
  Live,
  StopOrder,
} from './attempt-state.ts'

export type AttemptStep = Step<AttemptState, AttemptEffect>

/** Time after the grace until an unanswered stop is carried out by force. */
export const afterGraceMs = 3_000

/** A disk that was full within this time before the exit is taken for the cause. */
const maxFullAgeMs = 5_000

/** A shim that has not written its identity after this time has died before it could. */
const maxUnknownMs = 5_000

/** A new attempt is watched: the end of its shim will be reported. An adopted one is not. */
export function begin(how: 'start' | 'adopt', at: Timestamp): Step<Live, AttemptEffect> {
  const isWatched = how === 'start'
  const look = { do: 'lookForExit' } as const
  return [
    { phase: 'seeking', since: at, isWatched },
    isWatched ? [{ do: 'startShim' }, look] : [look],
  ]
}

/** Every rule of the life of an attempt. Pure: knows no process, file or clock. */
export function transition(state: AttemptState, event: AttemptEvent, at: Timestamp): AttemptStep {
  if (state.phase === 'over') return [state, []]
  switch (event.type) {
    case 'stopAsked':
      return stopAsked(state, { reason: event.reason, graceMs: event.graceMs })
    case 'detached':
      return [{ phase: 'over' }, [{ do: 'letGo' }]]
    case 'cannotStart':
      return cannotStart(state, event.why)
    case 'shimEnded':
      return shimEnded(state, event.signal !== null)
    case 'shimUnwatched':
      return state.phase === 'seeking' ? [{ ...state, isWatched: false }, []] : [state, []]
    case 'exitFound':
      return exitFound(state, event, at)
    case 'noExitFound':
      return state.phase === 'seeking' ? [state, [{ do: 'connect' }]] : [state, []]
    case 'helloReceived':
      return helloReceived(state, event.startedAt ?? at)
    case 'connectionClosed':
      return connectionClosed(state, at)
    case 'claimAnswered':
      return claimAnswered(state, event.claim)
    case 'lifeChecked': {
      if (state.phase !== 'seeking') return [state, []]
      const isOverdue = event.life === 'unknown' && at - state.since > maxUnknownMs
      if (event.life === 'dead' || isOverdue) return conclude(state, false)
      return [state, [{ do: 'lookAgain' }]]
    }
    case 'lookDue':
      if (state.phase === 'concluding') return [state, [{ do: 'lookForLastExit' }]]
      return state.phase === 'seeking' ? [state, [{ do: 'lookForExit' }]] : [state, []]
    case 'noExitLeft':
      if (state.phase !== 'concluding') return [state, []]
      // A shim that was killed before it could start is worth another attempt, as a lost one is.
      return state.wasKilled || state.startedAt !== undefined
        ? lose(state)
        : [state, [{ do: 'revoke' }]]
    case 'observationFailed':
      return observationFailed(state, event.error)
    case 'outputRead': {
      const { reading } = event
      const isNews = state.startedAt !== undefined && !isDeepStrictEqual(reading, state.reading)
      if (!isNews) return [state, []]
      return [{ ...state, reading }, [{ do: 'report', report: { type: 'reading', reading } }]]
    }
    case 'noRoomSeen':
      return [{ ...state, fullAt: at }, []]
    case 'outputFinished':
      return outputFinished(state, event)
    case 'forceDue':
      return forceDue(state)
    case 'cleared':
      return cleared(state, event, at)
    case 'shimGone':
      return state.phase === 'leaving' ? over(state.result) : [state, []]
    default:
      return event satisfies never
  }
}

/** The first reason and the first grace count. A later stop can only shorten the grace in the shim. */
function stopAsked(state: Live, order: StopOrder): AttemptStep {
  const stop = state.stop ?? order
  const stopping = { ...state, stop }
  const force = { do: 'expectForce', afterMs: order.graceMs + afterGraceMs } as const
  if (state.phase === 'seeking') return [stopping, [force]]
  if (state.phase !== 'connected') return [stopping, []]
  return [stopping, [{ do: 'sendStop', reason: stop.reason, graceMs: order.graceMs }, force]]
}

/** The shim does not answer, or its worker does not die. Without the shim there is an end at least. */
function forceDue(state: Live): AttemptStep {
  if (state.phase !== 'seeking' && state.phase !== 'connected') return [state, []]
  const phrase = 'the shim did not stop its generation and is killed'
  return [state, [{ do: 'log', level: 'warn', fields: {}, phrase }, { do: 'force' }]]
}

function cannotStart(state: Live, why: string): AttemptStep {
  if (state.phase !== 'seeking' && state.phase !== 'concluding') return [state, []]
  if (state.startedAt === undefined) {
    return over(resultOf({ code: null, signal: null, reason: null, error: why }))
  }
  // A worker has started nevertheless. Only the news of its shim is missing.
  return state.phase === 'seeking' ? [{ ...state, isWatched: false }, []] : [state, []]
}

function shimEnded(state: Live, wasKilled: boolean): AttemptStep {
  switch (state.phase) {
    case 'seeking':
    case 'connected':
      return conclude(state, wasKilled)
    case 'concluding':
      return [{ ...state, wasKilled: state.wasKilled || wasKilled }, []]
    default:
      return [state, []]
  }
}

/** An exit that was written before the end of the shim cannot be missed by a look after it. */
const conclude = (state: Live, wasKilled: boolean): AttemptStep => [
  { ...factsOf(state), phase: 'concluding', wasKilled },
  [{ do: 'lookForLastExit' }],
]

function helloReceived(state: Live, startedAt: Timestamp): AttemptStep {
  switch (state.phase) {
    case 'seeking': {
      const [facts, effects] = started(state, startedAt)
      const { stop } = facts
      const stopping = stop ? [{ do: 'sendStop', ...stop } as const] : []
      return [{ ...facts, phase: 'connected' }, [...effects, ...stopping]]
    }
    case 'concluding':
    case 'losing': {
      const [facts, effects] = started(state, startedAt)
      return [{ ...state, ...facts }, effects]
    }
    default:
      return [state, []]
  }
}

/** While seeking, nobody has answered: the claim tells whether anybody ever will. */
function connectionClosed(state: Live, at: Timestamp): AttemptStep {
  if (state.phase === 'connected') {
    const seeking = { phase: 'seeking', since: at, isWatched: false } as const
    return [{ ...factsOf(state), ...seeking }, [{ do: 'lookForExit' }]]
  }
  if (state.phase !== 'seeking') return [state, []]
  const mayNotHaveBegun = !state.isWatched && state.startedAt === undefined
  return [state, [{ do: mayNotHaveBegun ? 'revoke' : 'checkLife' }]]
}

/** Without a claim, or without files, nothing has begun: unless a process of the attempt is found. */
function claimAnswered(state: Live, claim: Claim): AttemptStep {
  const isOurs = claim !== 'taken' && state.startedAt === undefined
  if (state.phase === 'seeking') {
    return isOurs ? lose(state, { mayNotHaveBegun: true }) : [state, [{ do: 'checkLife' }]]
  }
  if (state.phase !== 'concluding') return [state, []]
  // Without files there is no reason to read either.
  return isOurs && claim === 'revoked' ? [state, [{ do: 'askWhyNothingStarted' }]] : lose(state)
}

function observationFailed(state: Live, error: unknown): AttemptStep {
  const isLooking = state.phase === 'seeking' || state.phase === 'concluding'
  if (isLooking && (isExhausted(error) || saysDiskFull(String(error)))) {
    return lookLater(state, error)
  }
  const phrase = 'the generation could not be observed'
  const log = { do: 'log', level: 'error', fields: { err: error }, phrase } as const
  if (hasEnded(state)) return [state, [log]]
  const [next, effects] = lose(state)
  return [next, [log, ...effects]]
}

/** Nothing was found out, so nothing may be concluded: the generation may be well. */
function lookLater(
  state: Extract<Live, { phase: 'seeking' | 'concluding' }>,
  error: unknown,
): AttemptStep {
  const phrase = 'the generation cannot be observed for now; it is looked for again'
  const log = { do: 'log', level: 'warn', fields: { err: error }, phrase } as const
  return [{ ...state, isBlind: true }, [...(state.isBlind ? [] : [log]), { do: 'lookLater' }]]
}

function exitFound(
  state: Live,
  { exit, source }: Extract<AttemptEvent, { type: 'exitFound' }>,
  at: Timestamp,
): AttemptStep {
  if (state.phase === 'clearing' || state.phase === 'finishing' || state.phase === 'leaving') {
    return [state, []]
  }
  const [facts, effects] = started(state, exit.startedAt)
  const { code, signal, strays, unreaped } = exit
  const fields = { code, signal, strays, unreaped }
  const { diskFull = false } = wasFull(facts, at)
  const end = { how: 'exited', exit, diskFull, survivors: unreaped } as const
  const ended = { do: 'log', level: 'info', fields, phrase: 'generation ended' } as const
  return source === 'shim'
    ? [{ ...facts, phase: 'finishing', end }, [...effects, ended, { do: 'finishOutput' }]]
    : [{ ...facts, phase: 'clearing', end }, [...effects, ended, { do: 'clear' }]]
}

const lose = (state: Live, { mayNotHaveBegun = false } = {}): AttemptStep => [
  { ...factsOf(state), phase: 'losing', mayNotHaveBegun },
  [{ do: 'clear' }],
]

function cleared(
  state: Live,
  { found, survivors, hasFiles }: Extract<AttemptEvent, { type: 'cleared' }>,
  at: Timestamp,
): AttemptStep {
  if (state.phase === 'clearing') {
    const end = { ...state.end, survivors }
    return [{ ...state, phase: 'finishing', end }, [{ do: 'finishOutput' }]]
  }
  if (state.phase !== 'losing') return [state, []]
  const hasBegun = !state.mayNotHaveBegun || state.startedAt !== undefined || found > 0
  if (!hasBegun && survivors === 0) return over({ how: 'neverBegan' })
  const [facts, effects] = hasFiles ? started(state, at) : [factsOf(state), []]
  const fields = { leftovers: found, survivors, hasFiles }
  return [
    { ...facts, phase: 'finishing', end: { how: 'lost', survivors, ...wasFull(facts, at) } },
    [
      { do: 'log', level: 'warn', fields, phrase: 'generation lost' },
      ...effects,
      { do: 'finishOutput' },
    ],
  ]
}

/** A stop is answered when no process of the attempt is left, the shim included. */
function outputFinished(
  state: Live,
  { evidence, hasFiles }: Extract<AttemptEvent, { type: 'outputFinished' }>,
): AttemptStep {
  if (state.phase !== 'finishing') return [state, []]
  const result = resultOfEnd(state.end, evidence, hasFiles)
  if (!state.stop) return over(result)
  return [{ ...factsOf(state), phase: 'leaving', result }, [{ do: 'awaitShimEnd' }]]
}

const wasFull = ({ fullAt }: Facts, at: Timestamp): { diskFull?: true } =>
  fullAt !== undefined && at - fullAt < maxFullAgeMs ? { diskFull: true } : {}

const over = (result: GenerationResult): AttemptStep => [
  { phase: 'over' },
  [{ do: 'letGo' }, { do: 'report', report: { type: 'ended', result } }],
]

/** The first sign of a start is reported. From then on the output is followed. */
function started(
  state: Live,
  startedAt: Timestamp,
): Step<Facts & { startedAt: Timestamp }, AttemptEffect> {
  const facts = factsOf(state)
  if (facts.startedAt !== undefined) return [{ ...facts, startedAt: facts.startedAt }, []]
  return [
    { ...facts, startedAt },
    [
      { do: 'report', report: { type: 'started', at: startedAt } },
      { do: 'followOutput', startedAt },
    ],
  ]
}

function factsOf({ startedAt, reading, stop, fullAt, isBlind }: Live): Facts {
  return {
    ...(startedAt !== undefined && { startedAt }),
    ...(reading && { reading }),
    ...(stop && { stop }),
    ...(fullAt !== undefined && { fullAt }),
    ...(isBlind && { isBlind }),
  }
}

const hasEnded = ({ phase }: Live): boolean =>
  phase === 'losing' || phase === 'clearing' || phase === 'finishing' || phase === 'leaving'
