import { describe, expect, it } from 'vitest'
import { createChecks, FailedError, NotDoneError, tableOf } from '../../bench/gpu/checks.ts'
import { readOptions, UnfitError } from '../../bench/gpu/options.ts'

function someChecks(leftMs: () => number = () => 60_000) {
  const said: string[] = []
  const clock = { leftMs, signal: new AbortController().signal }
  return { checks: createChecks(clock, (line) => said.push(line)), said }
}

const passes = async () => ({ detail: 'as it should be', figures: { ms: 5 }, value: 7 })

describe('the checks of a GPU', () => {
  it('give the value of one that passes, and a line as it ends', async () => {
    const { checks, said } = someChecks()
    expect(await checks.check('a fork', passes)).toBe(7)
    expect(said).toEqual([expect.stringMatching(/^ok +0\.0 s {2}a fork: as it should be$/)])
    expect(checks.rows).toMatchObject([{ verdict: 'ok', figures: { ms: 5 } }])
    expect(checks.areAllOk()).toBe(true)
  })

  it('go on after one that fails, and keep what it has measured', async () => {
    const { checks } = someChecks()
    const fails = () => Promise.reject(new FailedError('it differs', { ms: 9 }))
    expect(await checks.check('a video', fails)).toBeUndefined()
    expect(await checks.check('a fork', passes)).toBe(7)
    expect(checks.rows).toMatchObject([
      { verdict: 'failed', detail: 'it differs', figures: { ms: 9 } },
      { verdict: 'ok' },
    ])
    expect(checks.areAllOk()).toBe(false)
  })

  it('name those as not done for which there is no time, and do not begin them', async () => {
    const { checks } = someChecks(() => 0)
    let isBegun = false
    await checks.check('a fork', async () => {
      isBegun = true
      return passes()
    })
    expect(isBegun).toBe(false)
    const detail = expect.stringContaining('--minutes')
    expect(checks.rows).toMatchObject([{ verdict: 'not done', detail }])
    expect(checks.areAllOk()).toBe(false)
  })

  it('do not blame one that fails because the time is up while it runs', async () => {
    let left = 1
    const { checks } = someChecks(() => left)
    await checks.check('a job', () => {
      left = 0
      return Promise.reject(new Error('it was interrupted'))
    })
    expect(checks.rows).toMatchObject([{ verdict: 'not done' }])
  })

  it('tell what could not be judged from what failed', async () => {
    const { checks } = someChecks()
    await checks.check('a video', () => Promise.reject(new NotDoneError('no comparison')))
    expect(checks.rows).toMatchObject([{ verdict: 'not done', detail: 'no comparison' }])
  })

  it('make one row of each in the table, whatever is in the text', async () => {
    const { checks } = someChecks()
    const fails = () => Promise.reject(new Error('Traceback:\n  a | b'))
    await checks.check('a fork', fails)
    expect(tableOf(checks.rows).trimEnd().split('\n')).toEqual([
      '| check | verdict | seconds | found |',
      '| --- | --- | ---: | --- |',
      '| a fork | **failed** | 0.0 | Traceback: a \\| b |',
    ])
  })
})

describe('the options of scripts/gpu-check', () => {
  it('come from the environment of the service where they are not given', () => {
    const env = { WAN_DIR: '/opt/Wan2.2', WAN_PYTHON: '/opt/venv/bin/python' }
    expect(readOptions([], env)).toMatchObject({
      wanDir: '/opt/Wan2.2',
      python: '/opt/venv/bin/python',
      jobs: 20,
      minutes: 10,
      only: ['probe', 'service'],
    })
  })

  it.each([
    [['--jobs', '1.5'], '--jobs must be a whole number'],
    [['--minutes', '0'], '--minutes must be a whole number from 1'],
    [['--gpu', 'first'], '--gpu must be a whole number'],
    [['--only', 'probe,all'], '--only must be probe or service, not all'],
    [['--warm-start', 'off'], '--warm-start must be auto or on'],
    [['--ckpt-dir', '/a', '--weights-dir', '/b'], 'pass one'],
    [['now'], 'See --help'],
  ])('%j are refused', (args, says) => {
    const read = () => readOptions(args, { WAN_DIR: '/opt/Wan2.2' })
    expect(read).toThrow(UnfitError)
    expect(read).toThrow(says)
  })
})
