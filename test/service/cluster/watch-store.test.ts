import { DatabaseError } from 'pg'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { toStoreError } from '../../../src/infra/store/postgres/postgres-errors.ts'
import { canConnect, watchStore } from '../../../src/service/cluster/watch-store.ts'

describe('a node could lead', () => {
  it.each([
    ['not when it cannot open connections', timesOut, false],
    ['when PostgreSQL itself refuses connections', isFull, true],
    ['when it can open connections', async () => {}, true],
  ])('%s', async (_, connect, could) => {
    expect(await canConnect(connect)).toBe(could)
  })
})

describe('the watch of a leader over its store', () => {
  it('reports once that no connection can be opened while beats succeed', async () => {
    const { reports, looks } = aWatch({ connect: timesOut })
    await vi.waitFor(() => expect(reports).toHaveLength(1))
    expect(reports[0]).toMatch('it beats, but cannot open connections')
    expect(looks()).toBe(4)
  })

  it.each([
    ['PostgreSQL itself refuses connections', { connect: isFull }],
    ['beats fail too', { connect: timesOut, isCertain: () => false }],
    ['no other node can lead', { connect: timesOut, hasSuccessor: async () => false }],
    ['connections can be opened', { connect: async () => {} }],
    ['failures are not in a row', { connect: alternately() }],
  ])('reports nothing when %s', async (_, options) => {
    const { reports, looks } = aWatch(options)
    await vi.waitFor(() => expect(looks()).toBeGreaterThan(10))
    expect(reports).toEqual([])
  })
})

const timesOut = async () => {
  throw toStoreError(new Error('timeout expired'))
}

const isFull = async () => {
  const error = new DatabaseError('sorry, too many clients already', 0, 'error')
  throw toStoreError(Object.assign(error, { code: '53300', severity: 'FATAL' }))
}

function alternately() {
  let n = 0
  return async () => {
    if (n++ % 3 > 0) await timesOut()
  }
}

function aWatch({
  connect,
  ...options
}: Partial<Parameters<typeof watchStore>[0]> & { connect(): Promise<unknown> }) {
  const reports: string[] = []
  let count = 0
  const stop = watchStore({
    isCertain: () => true,
    hasSuccessor: async () => true,
    ...options,
    connect() {
      count += 1
      return connect()
    },
    onUseless: (why) => void reports.push(why),
    lookMs: 2,
  })
  onTestFinished(stop)
  return { reports, looks: () => count }
}
