import { describe, expect, it } from 'vitest'
import type {
  AttemptEffect,
  AttemptEvent,
  AttemptState,
  Live,
} from '../../../../src/infra/generation/attempt/attempt-state.ts'
import { begin, transition } from '../../../../src/infra/generation/attempt/attempt-transition.ts'
import { anExit } from '../../../support/attempt-world.ts'
import { midnight } from '../../../support/jobs.ts'

const at = midnight + 1_000
const watched: Live = { phase: 'seeking', since: midnight, isWatched: true }
const adopted: Live = { ...watched, isWatched: false }
const connected: Live = { phase: 'connected', startedAt: midnight }
const concluding: Live = { phase: 'concluding', wasKilled: false }
const losing: Live = { phase: 'losing', mayNotHaveBegun: false }
const doubting: Live = { phase: 'losing', mayNotHaveBegun: true }
const stop = { reason: 'canceled', graceMs: 500 } as const
const exit = anExit()
const end = { how: 'exited', exit, diskFull: false, survivors: 0 } as const
const finishing: Live = { phase: 'finishing', startedAt: midnight, end }
const clearing: Live = { phase: 'clearing', startedAt: midnight, end }

const on = (state: AttemptState, event: AttemptEvent, when = at) => transition(state, event, when)
const effectsOf = (state: AttemptState, event: AttemptEvent, when = at) => on(state, event, when)[1]
const phaseOf = (state: AttemptState, event: AttemptEvent, when = at) =>
  on(state, event, when)[0].phase

const started = (startedAt = midnight): AttemptEffect[] => [
  { do: 'report', report: { type: 'started', at: startedAt } },
  { do: 'followOutput', startedAt },
]
const ends = (result: object) => [
  { do: 'letGo' },
  { do: 'report', report: { type: 'ended', result: expect.objectContaining(result) } },
]
const environmentBroken = {
  how: 'failed',
  failure: expect.objectContaining({ code: 'environment_broken' }),
}

describe('the beginning of an attempt', () => {
  it('has its shim started, and looks for an exit', () => {
    expect(begin('start', midnight)).toEqual([
      watched,
      [{ do: 'startShim' }, { do: 'lookForExit' }],
    ])
  })

  it('only looks for an exit when the attempt is adopted', () => {
    expect(begin('adopt', midnight)).toEqual([adopted, [{ do: 'lookForExit' }]])
  })

  it('ends it when nothing can be started', () => {
    expect(on(watched, { type: 'cannotStart', why: 'no python' })).toEqual([
      { phase: 'over' },
      ends(environmentBroken),
    ])
  })

  it('ends it with a full disk when that is why nothing can be started', () => {
    const why = 'ENOSPC: no space left on device, mkdir'
    const failure = expect.objectContaining({ code: 'disk_full' })
    expect(effectsOf(watched, { type: 'cannotStart', why })).toEqual(
      ends({ how: 'failed', failure }),
    )
  })

  it('goes on when a worker has answered that could not be started', () => {
    const state = { ...watched, startedAt: midnight }
    expect(on(state, { type: 'cannotStart', why: 'the fork server failed' })).toEqual([
      { ...state, isWatched: false },
      [],
    ])
    expect(on(connected, { type: 'cannotStart', why: '' })).toEqual([connected, []])
  })
})

describe('an attempt that cannot be observed because descriptors have run out', () => {
  const event = {
    type: 'observationFailed',
    error: Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' }),
  } as const

  it.each([
    ['a new', watched],
    ['an adopted', adopted],
    ['a started', { ...adopted, startedAt: midnight }],
    ['an ended', concluding],
  ])('is looked for again if it is %s one, and nothing is concluded', (_which, state) => {
    const [next, effects] = on(state, event)
    expect(next).toEqual({ ...state, isBlind: true })
    expect(effects).toEqual([expect.objectContaining({ do: 'log' }), { do: 'lookLater' }])
    // It is said once.
    expect(on(next, event)).toEqual([next, [{ do: 'lookLater' }]])
    const again = state.phase === 'concluding' ? 'lookForLastExit' : 'lookForExit'
    expect(effectsOf(next, { type: 'lookDue' })).toEqual([{ do: again }])
  })

  it('is looked for again, too, when its claim cannot be made because the disk is full', () => {
    const full = { type: 'observationFailed', error: new Error('ENOSPC: no space left') } as const
    expect(effectsOf(concluding, full)).toContainEqual({ do: 'lookLater' })
  })

  it('has failed by the disk when it is lost while that is full', () => {
    const full = { ...losing, fullAt: at - 1_000 }
    const killed = { type: 'cleared', found: 0, survivors: 0, hasFiles: true } as const
    const [finished] = on(full, killed)
    expect(effectsOf(finished, { type: 'outputFinished', hasFiles: true })).toEqual(
      ends({ how: 'failed', failure: expect.objectContaining({ code: 'disk_full' }) }),
    )
  })

  it('is lost after any other error', () => {
    expect(phaseOf(watched, { type: 'observationFailed', error: new Error('no') })).toBe('losing')
  })
})

describe('the search for a shim', () => {
  it('connects when there is no exit', () => {
    expect(on(watched, { type: 'noExitFound' })).toEqual([watched, [{ do: 'connect' }]])
  })

  it('reports the start when the shim answers, and follows the output', () => {
    expect(on(watched, { type: 'helloReceived', startedAt: midnight })).toEqual([
      connected,
      started(),
    ])
  })

  it('takes now for the start of a worker that is still being started', () => {
    expect(on(watched, { type: 'helloReceived', startedAt: null })).toEqual([
      { phase: 'connected', startedAt: at },
      started(at),
    ])
  })

  it('reports no second start', () => {
    const state = { ...adopted, startedAt: midnight }
    expect(on(state, { type: 'helloReceived', startedAt: midnight + 7 })).toEqual([connected, []])
  })

  it('passes on a stop that was asked for before', () => {
    expect(on({ ...watched, stop }, { type: 'helloReceived', startedAt: midnight })).toEqual([
      { ...connected, stop },
      [...started(), { do: 'sendStop', ...stop }],
    ])
  })

  it('checks the life of a shim that does not answer and is still to be heard of', () => {
    expect(effectsOf(watched, { type: 'connectionClosed' })).toEqual([{ do: 'checkLife' }])
  })

  it('revokes the claim when nobody answers and no shim is known', () => {
    expect(effectsOf(adopted, { type: 'connectionClosed' })).toEqual([{ do: 'revoke' }])
  })

  it('revokes no claim of an attempt that has started', () => {
    const state = { ...adopted, startedAt: midnight }
    expect(effectsOf(state, { type: 'connectionClosed' })).toEqual([{ do: 'checkLife' }])
    expect(effectsOf(state, { type: 'claimAnswered', claim: 'noFiles' })).toEqual([
      { do: 'checkLife' },
    ])
  })

  it.each(['revoked', 'noFiles'] as const)('searches for processes first: claim %s', (claim) => {
    expect(on(adopted, { type: 'claimAnswered', claim })).toEqual([doubting, [{ do: 'clear' }]])
  })

  it('ends without a beginning when no process was found', () => {
    const none = { type: 'cleared', found: 0, survivors: 0, hasFiles: false } as const
    expect(on(doubting, none)).toEqual([{ phase: 'over' }, ends({ how: 'neverBegan' })])
  })

  it.each([
    [1, 0, 'lost'],
    [0, 1, 'unkillable'],
  ])('has begun when %i processes were found and %i survive: %s', (found, survivors, how) => {
    const [next] = on(doubting, { type: 'cleared', found, survivors, hasFiles: false })
    expect(next).toMatchObject({ phase: 'finishing' })
    expect(effectsOf(next, { type: 'outputFinished', hasFiles: false })).toEqual(ends({ how }))
  })

  it('checks the life of the shim that has the claim', () => {
    expect(effectsOf(adopted, { type: 'claimAnswered', claim: 'taken' })).toEqual([
      { do: 'checkLife' },
    ])
  })

  it('looks again while the shim lives, or has just been started', () => {
    for (const life of ['alive', 'unknown'] as const) {
      expect(on(watched, { type: 'lifeChecked', life })).toEqual([watched, [{ do: 'lookAgain' }]])
    }
    expect(effectsOf(watched, { type: 'lookDue' })).toEqual([{ do: 'lookForExit' }])
  })

  it.each([
    ['is dead', 'dead', at],
    ['has not said who it is for too long', 'unknown', midnight + 5_001],
  ] as const)('looks for the exit a last time when the shim %s', (_case, life, when) => {
    expect(on(watched, { type: 'lifeChecked', life }, when)).toEqual([
      concluding,
      [{ do: 'lookForLastExit' }],
    ])
  })

  it('does not wait for the end of a shim that nobody watches any more', () => {
    expect(on(watched, { type: 'shimUnwatched' })).toEqual([adopted, []])
    expect(on(connected, { type: 'shimUnwatched' })).toEqual([connected, []])
  })

  it('begins again when the connection of a worker closes', () => {
    expect(on({ ...connected, stop }, { type: 'connectionClosed' })).toEqual([
      { phase: 'seeking', since: at, isWatched: false, startedAt: midnight, stop },
      [{ do: 'lookForExit' }],
    ])
  })

  it('ends in a loss when it fails', () => {
    const error = new Error('EACCES')
    for (const state of [watched, concluding, { ...connected }] as const) {
      const [next, effects] = on(state, { type: 'observationFailed', error })
      expect(next.phase).toBe('losing')
      expect(effects).toEqual([
        expect.objectContaining({ do: 'log', level: 'error', fields: { err: error } }),
        { do: 'clear' },
      ])
    }
    const [, effects] = on(losing, { type: 'observationFailed', error })
    expect(effects.map((effect) => effect.do)).toEqual(['log'])
  })
})

describe('a shim that has ended', () => {
  it('has its exit looked for', () => {
    for (const state of [watched, connected]) {
      const [next, effects] = on(state, { type: 'shimEnded', signal: 'SIGKILL' })
      expect(next).toMatchObject({ phase: 'concluding', wasKilled: true })
      expect(effects).toEqual([{ do: 'lookForLastExit' }])
    }
    expect(on(watched, { type: 'shimEnded', signal: null })[0]).toEqual(concluding)
  })

  it('has its claim revoked when it left no exit', () => {
    expect(effectsOf(concluding, { type: 'noExitLeft' })).toEqual([{ do: 'revoke' }])
  })

  it('is asked for its last words when it started nothing', () => {
    expect(on(concluding, { type: 'claimAnswered', claim: 'revoked' })).toEqual([
      concluding,
      [{ do: 'askWhyNothingStarted' }],
    ])
    const said = { type: 'cannotStart', why: 'The shim failed: no module named json' } as const
    expect(effectsOf(concluding, said)).toEqual(ends(environmentBroken))
  })

  it.each<[what: string, state: Live, event: AttemptEvent]>([
    ['was killed', { ...concluding, wasKilled: true }, { type: 'noExitLeft' }],
    ['had a worker', { ...concluding, startedAt: midnight }, { type: 'noExitLeft' }],
    ['had the claim', concluding, { type: 'claimAnswered', claim: 'taken' }],
    ['has no files any more', concluding, { type: 'claimAnswered', claim: 'noFiles' }],
  ])('is lost when it left no exit and %s', (_what, state, event) => {
    const [next, effects] = on(state, event)
    expect(next.phase).toBe('losing')
    expect(effects).toEqual([{ do: 'clear' }])
  })

  it('is known to be killed when that is heard after it was found dead', () => {
    expect(on(concluding, { type: 'shimEnded', signal: 'SIGKILL' })).toEqual([
      { ...concluding, wasKilled: true },
      [],
    ])
  })

  it('may still have said hello', () => {
    expect(on(concluding, { type: 'helloReceived', startedAt: midnight })).toEqual([
      { ...concluding, startedAt: midnight },
      started(),
    ])
  })
})

describe('an exit', () => {
  const ended = [
    {
      ...{ do: 'log', level: 'info', phrase: 'generation ended' },
      fields: { code: 0, signal: null, strays: 0, unreaped: 0 },
    },
    { do: 'finishOutput' },
  ]

  it.each([watched, adopted, concluding, losing])('of an attempt $phase counts', (state) => {
    const [next, effects] = on(state, { type: 'exitFound', exit, source: 'shim' })
    expect(next).toEqual({ ...finishing, startedAt: exit.startedAt })
    expect(effects).toEqual([...started(exit.startedAt), ...ended])
  })

  it('that is only on disk counts when no process is left', () => {
    const [next, effects] = on(connected, { type: 'exitFound', exit, source: 'file' })
    expect(next).toEqual(clearing)
    expect(effects).toEqual([ended[0], { do: 'clear' }])
    const cleared = { type: 'cleared', found: 1, survivors: 0, hasFiles: true } as const
    expect(on(clearing, cleared)).toEqual([finishing, [{ do: 'finishOutput' }]])
    const [hung] = on(clearing, { ...cleared, survivors: 1 })
    expect(effectsOf(hung, { type: 'outputFinished', hasFiles: true })).toEqual(
      ends({ how: 'unkillable' }),
    )
  })

  it('is of no use when the files of the attempt were removed', () => {
    const failure = expect.objectContaining({ code: 'lost' })
    expect(effectsOf(finishing, { type: 'outputFinished', hasFiles: false })).toEqual(
      ends({ how: 'failed', failure }),
    )
  })

  it('reports no start that is known', () => {
    expect(on(connected, { type: 'exitFound', exit, source: 'shim' })).toEqual([finishing, ended])
  })

  it('counts once', () => {
    const other = { type: 'exitFound', exit: anExit({ code: 1 }) } as const
    for (const source of ['shim', 'file'] as const) {
      expect(on(finishing, { ...other, source })).toEqual([finishing, []])
      expect(on(clearing, { ...other, source })).toEqual([clearing, []])
    }
  })

  it.each([
    ['a moment before', 4_999, true],
    ['long before', 5_000, false],
  ])('tells of a disk that was full %s', (_when, ms, diskFull) => {
    const [full] = on(connected, { type: 'noRoomSeen' }, at)
    const [next] = on(full, { type: 'exitFound', exit, source: 'shim' }, at + ms)
    expect(next).toMatchObject({ end: { diskFull } })
  })

  it.each<[what: string, end: object, evidence: object, result: object]>([
    ['completed', {}, { finished: true }, { how: 'completed' }],
    [
      'failed',
      { exit: anExit({ code: 1 }) },
      { raised: 'CUDA out of memory' },
      { how: 'failed', failure: expect.objectContaining({ code: 'out_of_memory' }) },
    ],
    [
      'full disk',
      { exit: anExit({ code: 1 }), diskFull: true },
      {},
      { how: 'failed', failure: expect.objectContaining({ code: 'disk_full' }) },
    ],
    ['unkillable', { survivors: 1 }, {}, { how: 'unkillable' }],
  ])('becomes a result when the output is read: %s', (_what, end, evidence, result) => {
    const state = { ...finishing, end: { ...finishing.end, ...end } } as Live
    const said = { finished: false, ...evidence }
    const read = { type: 'outputFinished', hasFiles: true, evidence: said } as const
    expect(on(state, read)).toEqual([{ phase: 'over' }, ends(result)])
  })

  it('becomes a result also when the output cannot be read', () => {
    expect(effectsOf(finishing, { type: 'outputFinished', hasFiles: true })).toEqual(
      ends({ how: 'completed' }),
    )
  })
})

describe('an attempt that is lost', () => {
  const killed = { type: 'cleared', found: 1, survivors: 0, hasFiles: true } as const
  const lost = expect.objectContaining({ do: 'log', level: 'warn', phrase: 'generation lost' })

  it('has its output read, from a start that is reported now if none was', () => {
    expect(effectsOf(losing, killed)).toEqual([lost, ...started(at), { do: 'finishOutput' }])
    expect(effectsOf({ ...losing, startedAt: midnight }, killed)).toEqual([
      lost,
      { do: 'finishOutput' },
    ])
  })

  it('has no start to report when its files are gone', () => {
    expect(effectsOf(losing, { ...killed, hasFiles: false })).toEqual([
      lost,
      { do: 'finishOutput' },
    ])
  })

  it.each([
    [0, 'lost'],
    [1, 'unkillable'],
  ])('is reported when %i of its processes survive: %s', (survivors, how) => {
    const [finishing] = on(losing, { ...killed, survivors })
    expect(effectsOf(finishing, { type: 'outputFinished', hasFiles: true })).toEqual(ends({ how }))
  })
})

describe('a stop', () => {
  it('is sent to a shim that is connected, and force is expected after the grace', () => {
    expect(on(connected, { type: 'stopAsked', ...stop })).toEqual([
      { ...connected, stop },
      [
        { do: 'sendStop', ...stop },
        { do: 'expectForce', afterMs: 3_500 },
      ],
    ])
  })

  it('waits for a shim that is not connected', () => {
    expect(on(watched, { type: 'stopAsked', ...stop })).toEqual([
      { ...watched, stop },
      [{ do: 'expectForce', afterMs: 3_500 }],
    ])
  })

  it('keeps its first reason when it is asked for again', () => {
    const again = { type: 'stopAsked', reason: 'timeout', graceMs: 0 } as const
    expect(on({ ...connected, stop }, again)).toEqual([
      { ...connected, stop },
      [
        { do: 'sendStop', reason: 'canceled', graceMs: 0 },
        { do: 'expectForce', afterMs: 3_000 },
      ],
    ])
  })

  it.each([watched, connected])('is carried out by force while the attempt is $phase', (state) => {
    expect(effectsOf({ ...state, stop }, { type: 'forceDue' })).toEqual([
      expect.objectContaining({ do: 'log', level: 'warn' }),
      { do: 'force' },
    ])
  })

  it.each([concluding, losing, clearing, finishing])(
    'needs no force when it is $phase',
    (state) => {
      expect(effectsOf({ ...state, stop }, { type: 'forceDue' })).toEqual([])
    },
  )

  it('is answered when the shim has gone, also when it came while the output was read', () => {
    const [stopping] = on(finishing, { type: 'stopAsked', ...stop })
    const [leaving, effects] = on(stopping, { type: 'outputFinished', hasFiles: true })
    expect(leaving).toMatchObject({ phase: 'leaving', result: { how: 'completed' } })
    expect(effects).toEqual([{ do: 'awaitShimEnd' }])
    expect(on(leaving, { type: 'shimGone' })).toEqual([
      { phase: 'over' },
      ends({ how: 'completed' }),
    ])
  })
})

describe('a reading', () => {
  const reading = { stage: 'denoising', step: 1, totalSteps: 6 } as const

  it('is reported once', () => {
    const [next, effects] = on(connected, { type: 'outputRead', reading })
    expect(effects).toEqual([{ do: 'report', report: { type: 'reading', reading } }])
    expect(on(next, { type: 'outputRead', reading: { ...reading } })).toEqual([next, []])
  })

  it('counts to the last, while the output is finished', () => {
    expect(effectsOf(finishing, { type: 'outputRead', reading })).toHaveLength(1)
  })
})

describe('a detached attempt', () => {
  it('lets go of everything, and its processes go on', () => {
    for (const state of [watched, connected, concluding, losing, finishing]) {
      expect(on(state, { type: 'detached' })).toEqual([{ phase: 'over' }, [{ do: 'letGo' }]])
    }
    expect(phaseOf({ phase: 'over' }, { type: 'exitFound', exit, source: 'shim' })).toBe('over')
  })
})
