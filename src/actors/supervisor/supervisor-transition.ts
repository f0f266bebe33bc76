import { format } from 'node:util'
import type {
  ChildSpec,
  ChildState,
  RestartAnswer,
  SupervisorCommand,
  SupervisorEffect,
  SupervisorNews,
  SupervisorState,
} from './supervisor-protocol.ts'

type Step = readonly [SupervisorState, readonly SupervisorEffect[]]

/** At rest: nobody has been started yet. */
export const initialSupervisorState = (specs: readonly ChildSpec[]): SupervisorState => ({
  children: specs.map((spec) => ({ spec, incarnation: 0, restartedAt: [], phase: 'terminated' })),
})

/**
 * Every rule of supervision: one_for_one, with OTP's restart intensity and Akka's back-off.
 * `now` is monotonic milliseconds; `jitter` is drawn from [0, 1).
 */
export function transition(
  state: SupervisorState,
  message: SupervisorCommand | SupervisorNews,
  now: number,
  jitter: number,
): Step {
  switch (message.type) {
    case 'startAll':
      return state.children.reduce<Step>(
        ([soFar, effects], child) => {
          const [next, more] = startChild(soFar, child)
          return [next, [...effects, ...more]]
        },
        [state, []],
      )
    case 'restartChild':
      return restartOnRequest(state, message.id, message.replyTo)
    case 'shutdown':
      return stopNext({
        ...state,
        shutdown: { waiting: [...(state.shutdown?.waiting ?? []), message.replyTo] },
      })
    case 'startFailed':
      return onChild(state, message, (child) =>
        ended(state, child, { error: message.error, dropped: 0 }, now, jitter),
      )
    case 'childEnded':
      return onChild(state, message, (child) => ended(state, child, message.ending, now, jitter))
    case 'restartDue':
      return onChild(state, message, (child) =>
        child.phase === 'backoff' && !state.shutdown ? startChild(state, child) : [state, []],
      )
    case 'shutdownOverdue': {
      const { id, incarnation } = message
      return onChild(state, message, (child) =>
        child.phase === 'stopping' ? [state, [{ do: 'kill', id, incarnation }]] : [state, []],
      )
    }
  }
}

/** News about an earlier incarnation comes too late, and is ignored here once for all. */
function onChild(
  state: SupervisorState,
  { id, incarnation }: { id: string; incarnation: number },
  then: (child: ChildState) => Step,
): Step {
  const child = state.children.find(({ spec }) => spec.id === id)
  return child && child.incarnation === incarnation ? then(child) : [state, []]
}

function startChild(state: SupervisorState, child: ChildState): Step {
  const incarnation = child.incarnation + 1
  const { spec, restartedAt } = child
  return [
    withChild(state, { spec, restartedAt, incarnation, phase: 'running' }),
    [{ do: 'start', id: spec.id, incarnation }],
  ]
}

function ended(
  state: SupervisorState,
  child: ChildState,
  ending: { error?: unknown; lastMessage?: string; dropped: number },
  now: number,
  jitter: number,
): Step {
  const { spec, incarnation } = child
  if (child.phase !== 'stopping') return failed(state, child, ending, now, jitter)

  const terminated = withChild(state, { ...bare(child), phase: 'terminated' })
  const report = {
    do: 'report',
    event: { type: 'childStopped', id: spec.id, incarnation },
  } as const
  const [next, effects] = state.shutdown
    ? stopNext(terminated)
    : startChild(terminated, { ...bare(child), phase: 'terminated' })
  return [next, [report, ...effects]]
}

/** A failed start counts as a restart too, as in OTP; and it waits its turn like any other. */
function failed(
  state: SupervisorState,
  child: ChildState,
  { error, lastMessage, dropped }: { error?: unknown; lastMessage?: string; dropped: number },
  now: number,
  jitter: number,
): Step {
  const { spec, incarnation } = child
  const { id } = spec
  const recent = child.restartedAt.filter((at) => now - at <= spec.periodMs)
  const what = error instanceof Error ? error.message : format('%s', error ?? 'ended by itself')

  if (recent.length >= spec.intensity) {
    const { significant } = spec
    const given = withChild(state, {
      ...bare(child),
      restartedAt: recent,
      phase: 'given_up',
      error: what,
    })
    return [
      given,
      [{ do: 'report', event: { type: 'childGivenUp', id, incarnation, error, significant } }],
    ]
  }

  const { minMs, maxMs } = spec.backoff
  const afterMs = Math.min(maxMs, minMs * 2 ** recent.length) * (1 + 0.2 * jitter)
  const detail = lastMessage === undefined ? {} : { lastMessage }
  return [
    withChild(state, {
      spec,
      incarnation,
      restartedAt: [...recent, now],
      phase: 'backoff',
      error: what,
    }),
    [
      {
        do: 'report',
        event: {
          type: 'childFailed',
          id,
          incarnation,
          error,
          ...detail,
          dropped,
          restartInMs: afterMs,
        },
      },
      { do: 'restartLater', id, incarnation, afterMs },
    ],
  ]
}

/** An operator's restart: of a running child by stopping it first, of a given-up one with a clean record. */
function restartOnRequest(
  state: SupervisorState,
  id: string,
  replyTo: Extract<SupervisorCommand, { type: 'restartChild' }>['replyTo'],
): Step {
  const answer = (answer: RestartAnswer) => ({ do: 'answerRestart', to: replyTo, answer }) as const
  const child = state.children.find(({ spec }) => spec.id === id)
  if (!child) return [state, [answer('no_such_child')]]
  if (state.shutdown) return [state, [answer('shutting_down')]]
  if (child.phase === 'stopping') return [state, [answer('restarting')]]
  const [next, effects] =
    child.phase === 'running'
      ? stopChild(state, child)
      : startChild(state, { ...bare(child), restartedAt: [], phase: 'terminated' })
  return [next, [...effects, answer('restarting')]]
}

function stopChild(state: SupervisorState, child: ChildState): Step {
  const { spec, incarnation } = child
  return [
    withChild(state, { ...bare(child), phase: 'stopping' }),
    [
      { do: 'stop', id: spec.id, incarnation },
      { do: 'expectEnd', id: spec.id, incarnation, withinMs: spec.shutdownMs },
    ],
  ]
}

/** One at a time, last started first; those who asked are answered after the last. */
function stopNext(state: SupervisorState): Step {
  const last = state.children.findLast(({ phase }) => phase === 'running' || phase === 'stopping')
  if (last?.phase === 'stopping') return [state, []]
  if (last) return stopChild(state, last)
  const waiting = state.shutdown?.waiting ?? []
  return [
    { ...state, shutdown: { waiting: [] } },
    waiting.map((to) => ({ do: 'answerShutdown', to })),
  ]
}

const bare = ({ spec, incarnation, restartedAt }: ChildState) => ({
  spec,
  incarnation,
  restartedAt,
})

const withChild = (state: SupervisorState, changed: ChildState): SupervisorState => ({
  ...state,
  children: state.children.map((child) => (child.spec.id === changed.spec.id ? changed : child)),
})
