import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createPlace } from '../../../src/actors/actor.ts'
import type {
  TemplateEffect,
  TemplateEvent,
  TemplateMessage,
  TemplateState,
  TemplateView,
  WarmStart,
} from '../../../src/actors/template/template-protocol.ts'
import {
  askAgainMs,
  begin,
  maxRetryMs,
  minRetryMs,
  settleMs,
  type TemplateStep,
  transition,
} from '../../../src/actors/template/template-transition.ts'
import { RefusalError } from '../../../src/domain/errors.ts'

const facts = { tookMs: 1_000, privateBytes: 1, sharedBytes: 2 }

const settings = (warmStart: WarmStart, idleMs = 0) => ({ warmStart, idleMs })

/** Steps through messages, and keeps the effects of the last one. */
function having(first: TemplateStep, ...messages: TemplateMessage[]): TemplateStep {
  return messages.reduce<TemplateStep>(([state], message) => transition(state, message), first)
}

const whatIsDone = ([, effects]: TemplateStep) =>
  effects.filter((one) => !['log', 'observe', 'answer'].includes(one.do))

const phase = ([state]: TemplateStep) => state.phase

const on = begin(settings('on'))
const turn = (build: number) => ({ type: 'turnCame', build }) as const
const loaded: TemplateEvent = { type: 'loaded', build: 1, facts }
const ready = having(on, turn(1), loaded)
const probing = having(begin(settings('auto')), turn(1), loaded)
const asked = (build: number): TemplateEffect[] => [
  { do: 'askTurn', build },
  { do: 'expect', event: { type: 'turnDue', build }, afterMs: askAgainMs },
]
const reload = {
  type: 'reload',
  replyTo: createPlace<TemplateView | RefusalError>('operator'),
} as const
const warm = { type: 'generationStarted', start: 'warm' } as const

describe('a template', () => {
  it('is not built when warm starts are off, or impossible', () => {
    const off = begin(settings('off'))
    expect(off[0]).toMatchObject({ phase: 'off', why: 'WARM_START is off' })
    expect(off[1]).toEqual([])
    const impossible = begin({ ...settings('on'), impossible: 'WAN_LAUNCHER is 0' })
    expect(impossible[0]).toMatchObject({ phase: 'off', why: 'WAN_LAUNCHER is 0' })
  })

  it('is built at the start, and used when it has loaded', () => {
    expect(whatIsDone(having(on, turn(1)))).toEqual([{ do: 'build', build: 1 }])
    expect(ready[0]).toMatchObject({ phase: 'ready', facts })
    expect(whatIsDone(ready)).toEqual([{ do: 'use' }, { do: 'endTurn', build: 1 }])
  })

  it('loads when it has its turn among the loads, for which it asks again', () => {
    expect(on[0]).toMatchObject({ phase: 'building', isLoading: false })
    expect(whatIsDone(on)).toEqual(asked(1))
    const due = { type: 'turnDue', build: 1 } as const
    expect(whatIsDone(having(on, due))).toEqual(asked(1))
    const loading = having(on, turn(1))
    expect(having(loading, due)).toEqual([loading[0], []])
    expect(having(loading, turn(1))).toEqual([loading[0], []])
  })

  it.each<[what: string, message: TemplateMessage]>([
    ['cannot load', { type: 'notLoaded', build: 1, why: 'no memory' }],
    ['dies', { type: 'ended', build: 1, why: 'it ended (SIGKILL)' }],
    ['is given up', { type: 'forkFailed', why: 'no CUDA' }],
  ])('gives its turn back when it %s', (_what, message) => {
    expect(whatIsDone(having(on, turn(1), message))).toContainEqual({ do: 'endTurn', build: 1 })
  })

  it('is probed before it is used, with WARM_START=auto', () => {
    expect(phase(probing)).toBe('probing')
    expect(whatIsDone(probing)).toEqual([
      { do: 'probe', build: 1 },
      { do: 'endTurn', build: 1 },
    ])
    const proven = having(probing, { type: 'probed', build: 1 })
    expect(phase(proven)).toBe('ready')
    expect(whatIsDone(proven)).toEqual([{ do: 'use' }])
  })

  const completed = { type: 'generationCompleted' } as const
  const noProbe = (build: number) => ({ type: 'probed', build, why: 'no driver' }) as const

  it('is given up, with the reason, when its probe fails as only a fork can', () => {
    const failed = having(probing, { ...noProbe(1), isForkFault: true })
    expect(failed[0]).toMatchObject({ phase: 'off', why: 'no driver' })
    expect(whatIsDone(failed)).toEqual([{ do: 'end' }])
    expect(having(failed, completed)).toEqual([failed[0], []])
  })

  it('is probed once more, when a generation has used a GPU, if the probe failed otherwise', () => {
    const failed = having(probing, noProbe(1))
    expect(failed[0]).toMatchObject({ phase: 'off', why: 'no driver' })
    expect(whatIsDone(failed)).toEqual([{ do: 'end' }])
    const again = having(failed, completed)
    expect(whatIsDone(again)).toEqual(asked(2))
    const twice = having(again, turn(2), { ...loaded, build: 2 }, noProbe(2))
    expect(phase(twice)).toBe('off')
    expect(having(twice, completed)).toEqual([twice[0], []])
    const good = having(again, turn(2), { ...loaded, build: 2 }, { type: 'probed', build: 2 })
    expect(phase(good)).toBe('ready')
  })

  it('is given up, with the reason, when a generation fails as only a fork can', () => {
    const failed = having(ready, { type: 'forkFailed', why: 'Cannot re-initialize CUDA' })
    expect(failed[0]).toMatchObject({ phase: 'off', why: 'Cannot re-initialize CUDA' })
    expect(whatIsDone(failed)).toEqual([{ do: 'end' }])
    expect(having(failed, { type: 'buildDue', build: 1 })).toEqual([failed[0], []])
  })

  it('is built again after a back-off when it cannot be loaded', () => {
    let step = on
    const delays: number[] = []
    for (let build = 1; build <= 12; build++) {
      step = having(step, turn(build), { type: 'notLoaded', build, why: 'no memory' })
      expect(step[0]).toMatchObject({ phase: 'failed', why: 'no memory' })
      delays.push(...step[1].flatMap((one) => (one.do === 'expect' ? [one.afterMs] : [])))
      step = having(step, { type: 'ended', build, why: 'it ended' }, { type: 'buildDue', build })
      expect(phase(step)).toBe('building')
    }
    expect(delays.slice(0, 3)).toEqual([minRetryMs, 2 * minRetryMs, 4 * minRetryMs])
    expect(delays.at(-1)).toBe(maxRetryMs)
  })

  it('is built again after a back-off when it dies, which a generation from it resets', () => {
    const died = { type: 'ended', why: 'it ended (SIGKILL)' } as const
    const once = having(ready, { ...died, build: 1 })
    expect(whatIsDone(once)).toContainEqual({ do: 'end' })
    const twice = having(
      once,
      { type: 'buildDue', build: 1 },
      turn(2),
      { ...loaded, build: 2 },
      { ...died, build: 2 },
    )
    expect(retryOf(twice)).toBe(2 * minRetryMs)
    const good = having(
      once,
      { type: 'buildDue', build: 1 },
      turn(2),
      { ...loaded, build: 2 },
      warm,
    )
    expect(retryOf(having(good, { ...died, build: 2 }))).toBe(minRetryMs)
  })

  it('is built again soon when a file has changed', () => {
    const changed = having(ready, { type: 'outOfDate', build: 1, why: 'the script has changed' })
    expect(changed[0]).toMatchObject({ phase: 'failed', failures: 0 })
    expect(retryOf(changed)).toBe(settleMs)
    const again = having(
      changed,
      { type: 'ended', build: 1, why: '' },
      { type: 'buildDue', build: 1 },
    )
    expect(again[0]).toMatchObject({ phase: 'building', why: 'the script has changed', build: 2 })
  })

  it('is dropped only while it is idle and the host is short of memory', () => {
    const idling = having(begin(settings('on', 60_000)), turn(1), loaded)
    const due = { type: 'idleDue', build: 1, starts: 0 } as const
    expect(whatIsDone(idling)).toContainEqual({ do: 'expect', event: due, afterMs: 60_000 })
    expect(whatIsDone(having(idling, warm, due))).toEqual([])
    const checked = having(idling, due)
    expect(whatIsDone(checked)).toContainEqual({ do: 'checkMemory', build: 1 })
    const dropped = having(checked, { type: 'memoryShort', build: 1 })
    expect(phase(dropped)).toBe('dropped')
    expect(whatIsDone(dropped)).toEqual([{ do: 'end' }])
    const back = having(dropped, { type: 'generationStarted', start: 'cold' })
    expect(whatIsDone(back)).toEqual(asked(2))
  })

  it('is replaced when that is asked for, also after it was given up', () => {
    const replaced = having(ready, reload)
    expect(whatIsDone(replaced)).toEqual([{ do: 'end' }, ...asked(2)])
    const givenUp = having(ready, { type: 'forkFailed', why: 'no CUDA' }, reload)
    expect(whatIsDone(givenUp)).toEqual(asked(2))
    expect(answerOf(replaced)).toEqual({
      phase: 'building',
      why: 'a reload was requested',
      starts: 0,
      canReload: true,
    })
  })

  it.each([
    ['WARM_START is off', settings('off')],
    ['WAN_LAUNCHER is 0', { ...settings('auto'), impossible: 'WAN_LAUNCHER is 0' }],
  ])('is not replaced while there can be none, and the refusal says that %s', (why, settings) => {
    const off = begin(settings)
    const refused = having(off, reload)
    expect(refused[0]).toBe(off[0])
    expect(whatIsDone(refused)).toEqual([])
    const described = having(off, { type: 'describe', replyTo: createPlace('operator') })
    expect(answerOf(described)).toMatchObject({ phase: 'off', canReload: false })
    const refusal = answerOf(refused)
    expect(refusal).toBeInstanceOf(RefusalError)
    expect(refusal).toMatchObject({ code: 'warm_start_off', message: expect.stringContaining(why) })
  })

  it('counts the generations that were forked from it, and from no other', () => {
    const described = (step: TemplateStep) =>
      answerOf(having(step, { type: 'describe', replyTo: createPlace('operator') }))
    const used = having(ready, warm, { ...warm, start: 'cold' }, warm)
    expect(described(used)).toEqual({ phase: 'ready', facts, starts: 2, canReload: true })
    const replaced = having(used, reload, warm)
    expect(described(replaced)).toMatchObject({ phase: 'building', starts: 0 })
    expect(described(having(replaced, turn(2), { ...loaded, build: 2 }, warm))).toMatchObject({
      starts: 1,
    })
  })

  it('counts generations by how they were started', () => {
    const counted = (message: TemplateMessage) =>
      having(ready, message)[1].flatMap((one) => (one.do === 'observe' ? [one.observation] : []))
    expect(counted(warm)).toEqual([{ saw: 'generationStarted', start: 'warm' }])
    const cold = { type: 'generationStarted', start: 'cold' } as const
    expect(counted(cold)).toEqual([{ saw: 'generationStarted', start: 'cold' }])
    expect(counted({ ...warm, standby: true })).toEqual([
      { saw: 'generationStarted', start: 'warm', standby: true },
    ])
    expect(counted({ ...cold, why: 'it did not answer' })).toEqual([
      { saw: 'generationStarted', start: 'fallback' },
    ])
  })
})

const answerOf = ([, effects]: TemplateStep) =>
  effects.flatMap((one) => (one.do === 'answer' ? [one.value] : []))[0]

const retryOf = ([, effects]: TemplateStep) =>
  effects.flatMap((one) => (one.do === 'expect' ? [one.afterMs] : []))[0]

const anEvent = (build: fc.Arbitrary<number>): fc.Arbitrary<TemplateMessage> =>
  fc.oneof(
    build.map((build): TemplateMessage => ({ type: 'turnCame', build })),
    build.map((build): TemplateMessage => ({ type: 'turnDue', build })),
    build.map((build): TemplateMessage => ({ type: 'loaded', build, facts })),
    build.map((build): TemplateMessage => ({ type: 'notLoaded', build, why: 'x' })),
    build.map((build): TemplateMessage => ({ type: 'outOfDate', build, why: 'x' })),
    build.map((build): TemplateMessage => ({ type: 'ended', build, why: 'x' })),
    build.map((build): TemplateMessage => ({ type: 'probed', build })),
    build.map((build): TemplateMessage => ({ type: 'probed', build, why: 'x' })),
    build.map((build): TemplateMessage => ({ type: 'probed', build, why: 'x', isForkFault: true })),
    build.map((build): TemplateMessage => ({ type: 'buildDue', build })),
    build.map((build): TemplateMessage => ({ type: 'idleDue', build, starts: 0 })),
    build.map((build): TemplateMessage => ({ type: 'memoryShort', build })),
    fc.constantFrom<TemplateMessage>(
      warm,
      { type: 'generationStarted', start: 'cold' },
      { type: 'generationCompleted' },
      { type: 'forkFailed', why: 'x' },
      reload,
    ),
  )

const isProof = (message: TemplateMessage, build: number): boolean =>
  message.type === 'probed' && message.build === build && message.why === undefined

describe('whatever happens to templates', () => {
  it('at most one exists, is used only while it is ready and proven, has a turn only while it loads, and is ended before the next is built', () => {
    fc.assert(
      fc.property(
        fc.constantFrom<WarmStart>('auto', 'on'),
        fc.array(anEvent(fc.integer({ min: 1, max: 6 })), { maxLength: 60 }),
        (warmStart, messages) => {
          const world = { exists: false, used: false, proven: false, turn: 0 }
          const perform = (state: TemplateState, effects: readonly TemplateEffect[]) => {
            for (const effect of effects) {
              if (effect.do === 'askTurn') world.turn = effect.build
              else if (effect.do === 'endTurn') world.turn = 0
              else if (effect.do === 'build') {
                expect(world).toMatchObject({ exists: false, used: false })
                Object.assign(world, { exists: true, proven: warmStart === 'on' })
              } else if (effect.do === 'use') world.used = true
              else if (effect.do === 'end') Object.assign(world, { exists: false, used: false })
            }
            expect(world.used).toBe(state.phase === 'ready')
            const isBuilding = state.phase === 'building'
            const isThere = isBuilding ? state.isLoading : /probing|ready/.test(state.phase)
            expect(world.exists).toBe(isThere)
            expect(world.turn).toBe(isBuilding ? state.build : 0)
            if (world.used) expect(world.proven).toBe(true)
          }
          let [state, effects] = begin(settings(warmStart, 1_000))
          perform(state, effects)
          for (const message of messages) {
            if (state.phase === 'probing' && isProof(message, state.build)) world.proven = true
            ;[state, effects] = transition(state, message)
            perform(state, effects)
          }
        },
      ),
    )
  })
})
