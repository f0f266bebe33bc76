import { describe, expect, it } from 'vitest'
import type { EtaMessage } from '../../../src/actors/eta/eta-protocol.ts'
import { type EtaEffect, type EtaState, initialEta } from '../../../src/actors/eta/eta-state.ts'
import { transition } from '../../../src/actors/eta/eta-transition.ts'
import { values } from '../../../src/actors/ordered-map.ts'
import { aFinished, aQueue, speeds, withReading } from '../../support/eta.ts'
import { aRunningJob, gpu0, gpu1, jobId, midnight } from '../../support/jobs.ts'

const gpus = [gpu0, gpu1]
const seen = (waiting: number): EtaMessage => ({
  type: 'queueChanged',
  queue: aQueue({ waiting, ready: gpus, gpus }),
})
const empty: EtaMessage = { type: 'queueChanged', queue: aQueue({ ready: gpus, gpus }) }
const checkpointsDue: EtaMessage = { type: 'checkpointsDue' }

describe('the rules of the EtaActor', () => {
  it('start with the history and an announcement to the queue', () => {
    const [, effects] = initialEta(speeds())
    expect(kindsOf(effects)).toEqual(['readHistory', 'announce'])
  })

  it('start one timer at the first look at the queue, and renew it at each check', () => {
    const first = handle([seen(1)])
    expect(kindsOf(first.effects)).toEqual(['checkLater'])
    expect(kindsOf(handle([seen(2)], first.state).effects)).toEqual([])
    expect(kindsOf(handle([checkpointsDue], first.state).effects)).toEqual(['checkLater'])
  })

  it('stop the timer at a check that finds no work, and start it with the next work', () => {
    const { state, effects } = handle([seen(1), empty, checkpointsDue])
    expect(kindsOf(effects).filter((kind) => kind === 'checkLater')).toHaveLength(1)
    expect(kindsOf(handle([seen(1)], state).effects)).toContain('checkLater')
  })

  it('record the estimates since the last check together and once', () => {
    const { state, effects } = handle([seen(1), seen(2), seen(3), checkpointsDue])
    const recorded = effects.flatMap((effect) => (effect.do === 'record' ? [effect.estimates] : []))
    const kept = recorded.map((estimates) => estimates.map((one) => [one.jobId, one.checkpoint]))
    expect(kept).toEqual([
      [
        [jobId(2), 'submit'],
        [jobId(3), 'submit'],
      ],
    ])
    expect(state.unwritten).toEqual([])
    expect(kindsOf(handle([checkpointsDue], state).effects)).not.toContain('record')
  })

  it('forget jobs that have ended without a video, and no others', () => {
    const { state } = handle([empty, seen(5), checkpointsDue])
    expect(toldOf(state)).toHaveLength(5)
    expect(toldOf(handle([seen(3), checkpointsDue], state).state)).toEqual([1, 2, 3].map(jobId))
  })

  it('search a long queue for ended jobs in parts', () => {
    const { state } = handle([empty, seen(2_500), empty])
    const left = [1, 2, 3].map((checks) => {
      const due = Array.from({ length: checks }, () => checkpointsDue)
      return toldOf(handle(due, state).state).length
    })
    expect(left).toEqual([1_500, 500, 0])
  })

  it('compare the estimates of a first attempt with its outcome, and forget them', () => {
    const { state } = handle([empty, seen(1)])
    const { state: learned, effects } = handle(
      [
        {
          type: 'attemptSucceeded',
          attempt: { ...aFinished(1, 100), endedAt: midnight + 600_000 },
        },
      ],
      state,
    )
    expect(kindsOf(effects)).toEqual(['observe', 'tellSpeeds', 'log'])
    expect(toldOf(learned)).toEqual([])
  })

  it('tell the queue the speeds once for each model, however many attempts end', () => {
    const ended = (n: number): EtaMessage => ({
      type: 'attemptSucceeded',
      attempt: { ...aFinished(n, 100), endedAt: midnight + n },
    })
    // From so many attempts on, one model is made for several of them.
    const { state } = handle(Array.from({ length: 20 }, (_, n) => ended(n + 1)))
    const { effects } = handle([ended(21), ended(22), ended(23)], state)
    expect(kindsOf(effects)).not.toContain('tellSpeeds')
  })

  it('tell the queue the speeds again when a node has joined with GPUs', () => {
    const first: EtaMessage = { type: 'queueChanged', queue: aQueue({ ready: [], gpus: [] }) }
    const { state } = handle([first])
    const { effects } = handle([empty], state)
    const told = effects.flatMap((effect) => (effect.do === 'tellSpeeds' ? [effect] : []))
    expect(told.map(({ loadSeconds }) => [...loadSeconds.keys()])).toEqual([
      expect.arrayContaining(gpus),
    ])
  })

  it('judge no estimate by a second attempt', () => {
    const { state } = handle([empty, seen(1)])
    const attempt = { ...aFinished(1, 100), attempts: 2 }
    const { effects } = handle([{ type: 'attemptSucceeded', attempt }], state)
    expect(kindsOf(effects)).toEqual(['tellSpeeds', 'log'])
  })

  it('continue a long forecast with one message at a time', () => {
    const first = handle([seen(2_500)])
    expect(kindsOf(first.effects)).toEqual(['continueForecast', 'checkLater'])
    expect(kindsOf(handle([seen(2_501)], first.state).effects)).toEqual([])
    const second = handle([{ type: 'forecastDue' }], first.state)
    expect(kindsOf(second.effects)).toEqual(['continueForecast'])
    const last = handle([{ type: 'forecastDue' }], second.state)
    expect(last.effects).toEqual([])
    expect(last.state.isForecastDue).toBe(false)
  })

  it('leave an earlier state as it was', () => {
    const running = [aRunningJob(1, { claimedAt: midnight - 60_000 })]
    const queue = withReading(aQueue({ running }), { stage: 'denoising', step: 20, totalSteps: 50 })
    const { state } = handle([empty, { type: 'queueChanged', queue }])
    const withoutFunctions = { estimator: state.estimator.tracks, toldModel: undefined }
    const before = structuredClone({ ...state, ...withoutFunctions })
    handle([checkpointsDue, seen(3), checkpointsDue], state)
    expect({ ...state, ...withoutFunctions }).toEqual(before)
  })
})

/** All messages arrive at the same time. */
function handle(messages: readonly EtaMessage[], from: EtaState = initialEta(speeds())[0]) {
  let state = from
  const effects: EtaEffect[] = []
  for (const message of messages) {
    const [next, more] = transition(state, message, { now: midnight, stopwatch: () => 0 })
    state = next
    effects.push(...more)
  }
  return { state, effects }
}

const toldOf = ({ told }: EtaState) => [...values(told)].map(([first]) => first?.jobId)

const kindsOf = (effects: readonly EtaEffect[]) => effects.map((effect) => effect.do)
