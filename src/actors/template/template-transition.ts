/** Every rule of a template: when it is built, probed, used, and given up. */
import { type Caused, causeOf } from '../../domain/client.ts'
import { RefusalError } from '../../domain/errors.ts'
import type { Observation, TemplateEnd } from '../../domain/observation.ts'
import { answer, type Step } from '../actor.ts'
import type {
  TemplateEffect,
  TemplateEvent,
  TemplateFacts,
  TemplateMessage,
  TemplateState,
  TemplateView,
  WarmStart,
} from './template-protocol.ts'

export type TemplateStep = Step<TemplateState, TemplateEffect>

/** Before the next try after a failure; doubled each time. */
export const minRetryMs = 10_000
/** Loading takes minutes of a disk and a CPU: a fault that lasts costs no more than that each hour. */
export const maxRetryMs = 3_600_000
/** Files that change do so one after the other, as in a `git pull`: they are given time to settle. */
export const settleMs = 2_000
/** Before a turn is asked for again: a queue that has crashed has forgotten it. */
export const askAgainMs = 10_000

export type TemplateSettings = Readonly<{
  warmStart: WarmStart
  idleMs: number
  /** Reason why there can be no template here. */
  impossible?: string | undefined
}>

export function begin({ warmStart, idleMs, impossible }: TemplateSettings): TemplateStep {
  const counts = { build: 0, failures: 0, starts: 0 }
  const nothing = { warmStart, idleMs, ...counts, isLoading: false, afterProbe: 'retry' } as const
  if (warmStart === 'off') return [{ ...nothing, phase: 'off', why: 'WARM_START is off' }, []]
  if (impossible) return [{ ...nothing, phase: 'off', why: impossible }, []]
  return build({ ...nothing, phase: 'failed', why: '' }, 'the service has started')
}

export function transition(state: TemplateState, message: TemplateMessage): TemplateStep {
  const [next, effects] = decide(state, message)
  const isOver = state.phase === 'building' && next.phase !== 'building'
  return isOver ? [next, [...effects, { do: 'endTurn', build: state.build }]] : [next, effects]
}

function decide(state: TemplateState, message: TemplateMessage): TemplateStep {
  switch (message.type) {
    case 'describe':
      return [state, [answer(message.replyTo, viewOf(state))]]
    case 'generationStarted':
      return generationStarted(state, message)
    case 'generationCompleted':
      if (state.phase !== 'off' || state.afterProbe !== 'retryDue') return [state, []]
      return build({ ...state, afterProbe: 'giveUp' }, 'the probe is repeated')
    case 'forkFailed':
      return state.phase === 'off' ? [state, []] : giveUp(state, message.why, 'fork_failed')
    case 'reload':
      return reload(state, message)
    default:
      return message.build === state.build ? ofTemplate(state, message) : [state, []]
  }
}

function ofTemplate(state: TemplateState, event: TemplateEvent): TemplateStep {
  const isLoading = state.phase === 'building' && state.isLoading
  const isLoaded = state.phase === 'probing' || state.phase === 'ready'
  switch (event.type) {
    case 'turnCame': {
      if (state.phase !== 'building' || state.isLoading) return [state, []]
      return [{ ...state, isLoading: true }, [{ do: 'build', build: state.build }]]
    }
    case 'turnDue':
      return [state, state.phase === 'building' && !state.isLoading ? askTurn(state.build) : []]
    case 'loaded':
      return isLoading ? loaded(state, event.facts) : [state, []]
    case 'notLoaded':
      return isLoading ? failed(state, event.why, 'not_loaded') : [state, []]
    case 'outOfDate':
      return isLoaded ? outOfDate(state, event.why) : [state, []]
    case 'ended':
      if (isLoaded) return failed(state, event.why, 'died')
      return isLoading ? failed(state, event.why, 'not_loaded') : [state, []]
    case 'probed':
      if (state.phase !== 'probing') return [state, []]
      if (event.why === undefined) return use({ ...state, afterProbe: 'retry' }, state.facts)
      return state.afterProbe === 'giveUp' || event.isForkFault
        ? giveUp(state, event.why, 'probe_failed')
        : probeFailed(state, event.why)
    case 'buildDue':
      return state.phase === 'failed' ? build(state, state.why) : [state, []]
    case 'idleDue':
      if (state.phase !== 'ready' || event.starts !== state.starts) return [state, []]
      return [state, [{ do: 'checkMemory', build: state.build }, ...expectIdle(state)]]
    case 'memoryShort':
      return state.phase === 'ready' ? drop(state) : [state, []]
  }
}

/** It takes the memory and the disk of a load, so it takes a turn as one. */
function build(state: TemplateState, why: string, cause: Caused = {}): TemplateStep {
  const build = state.build + 1
  const asked = log('info', { why, ...cause }, 'a template is being built')
  return [
    { ...state, phase: 'building', why, isLoading: false, build, starts: 0 },
    [asked, ...askTurn(build)],
  ]
}

const askTurn = (build: number): TemplateEffect[] => [
  { do: 'askTurn', build },
  expect({ type: 'turnDue', build }, askAgainMs),
]

function loaded(state: Extract<TemplateState, { phase: 'building' }>, facts: TemplateFacts) {
  const [next, effects]: TemplateStep =
    state.warmStart === 'auto'
      ? [{ ...state, phase: 'probing', facts }, [{ do: 'probe', build: state.build }]]
      : use(state, facts)
  const built = observe({ saw: 'templateLoaded', tookMs: facts.tookMs })
  return [next, [log('info', facts, 'a template has loaded'), built, ...effects]] as const
}

function use(state: TemplateState, facts: TemplateFacts): TemplateStep {
  const phrase = 'generations are forked from the template'
  const ready = { ...state, phase: 'ready', facts } as const
  const used = observe({ saw: 'templateUsed' })
  return [ready, [{ do: 'use' }, used, log('info', {}, phrase), ...expectIdle(ready)]]
}

/** A start that was not warm says why. One that was proves that the template is good. */
function generationStarted(
  state: TemplateState,
  { start, why, standby }: Extract<TemplateMessage, { type: 'generationStarted' }>,
): TemplateStep {
  // One from the template before may be heard of late.
  const isFromThis = start === 'warm' && state.phase === 'ready'
  const starts = isFromThis ? state.starts + 1 : state.starts
  const failures = start === 'warm' ? 0 : state.failures
  const next = { ...state, starts, failures }
  const kind = why ? 'fallback' : start
  const counted = observe({ saw: 'generationStarted', start: kind, ...(standby && { standby }) })
  if (state.phase === 'dropped') {
    const [building, effects] = build(next, 'a generation was started')
    return [building, [counted, ...effects]]
  }
  const phrase = 'a generation could not be forked from the template; it is started cold'
  if (why) return [next, [counted, log('warn', { why }, phrase)]]
  return [next, [counted, ...(start === 'warm' ? expectIdle(next) : [])]]
}

/** Where there can be none, or is to be none, none was ever built. */
const canReload = ({ phase, build }: TemplateState): boolean => phase !== 'off' || build > 0

function reload(
  state: TemplateState,
  { replyTo, ...message }: Extract<TemplateMessage, { type: 'reload' }>,
): TemplateStep {
  if (state.phase === 'off' && !canReload(state)) {
    const detail = `There is no template to reload: ${state.why}. Change this setting and restart the service.`
    return [state, [answer(replyTo, new RefusalError('warm_start_off', detail))]]
  }
  const [next, effects] = build(
    { ...state, failures: 0, afterProbe: 'retry' },
    'a reload was requested',
    causeOf(message),
  )
  const isThere = ['building', 'probing', 'ready'].includes(state.phase)
  const replaced = isThere ? over({}, 'a template is replaced', 'reloaded') : []
  return [next, [...replaced, ...effects, answer(replyTo, viewOf(next))]]
}

/** A state may still have fields of the phase before. */
function viewOf(state: TemplateState): TemplateView {
  const common = { starts: state.starts, canReload: canReload(state) }
  return state.phase === 'probing' || state.phase === 'ready'
    ? { phase: state.phase, facts: state.facts, ...common }
    : { phase: state.phase, why: state.why, ...common }
}

/** The next one is built at once, but after a change that is being made. */
function outOfDate(state: TemplateState, why: string): TemplateStep {
  return [
    { ...state, phase: 'failed', why },
    [
      ...over({ why }, 'a template is out of date', 'out_of_date'),
      expect({ type: 'buildDue', build: state.build }, settleMs),
    ],
  ]
}

function failed(state: TemplateState, why: string, end: 'not_loaded' | 'died'): TemplateStep {
  const afterMs = Math.min(minRetryMs * 2 ** state.failures, maxRetryMs)
  const fields = { why, retryInMs: afterMs }
  const phrase = 'there is no template; generations are started cold'
  return [
    { ...state, phase: 'failed', why, failures: state.failures + 1 },
    [
      ...over(fields, phrase, end, 'warn'),
      expect({ type: 'buildDue', build: state.build }, afterMs),
    ],
  ]
}

function giveUp(
  state: TemplateState,
  why: string,
  end: 'fork_failed' | 'probe_failed',
): TemplateStep {
  const phrase = 'forks of a template do not work on this machine; generations are started cold'
  const off = { ...state, phase: 'off', why, afterProbe: 'giveUp' } as const
  return [off, over({ why }, phrase, end, 'warn')]
}

/** The GPU may have been unusable for anybody then. A generation that succeeds rules that out. */
function probeFailed(state: TemplateState, why: string): TemplateStep {
  const phrase =
    'a fork of the template could not use the GPU; it is tried once more when a job has succeeded'
  const off = { ...state, phase: 'off', why, afterProbe: 'retryDue' } as const
  return [off, over({ why }, phrase, 'probe_failed', 'warn')]
}

function drop(state: TemplateState): TemplateStep {
  const why = 'the host is short of memory, and no generation was started for WARM_START_IDLE_S'
  return [{ ...state, phase: 'dropped', why }, over({ why }, 'a template is dropped', 'dropped')]
}

function expectIdle({ build, starts, idleMs }: TemplateState): TemplateEffect[] {
  return idleMs > 0 ? [expect({ type: 'idleDue', build, starts }, idleMs)] : []
}

const over = (
  fields: object,
  phrase: string,
  end: TemplateEnd,
  level: 'info' | 'warn' = 'info',
): TemplateEffect[] => [
  { do: 'end' },
  observe({ saw: 'templateEnded', end }),
  log(level, fields, phrase),
]

const observe = (observation: Observation): TemplateEffect => ({ do: 'observe', observation })

const expect = (event: TemplateEvent, afterMs: number): TemplateEffect => ({
  do: 'expect',
  event,
  afterMs,
})

const log = (level: 'info' | 'warn', fields: object, phrase: string): TemplateEffect => ({
  do: 'log',
  level,
  fields,
  phrase,
})
