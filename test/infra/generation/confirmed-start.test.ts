import { describe, expect, it, vi } from 'vitest'
import type { GenerationResult } from '../../../src/actors/gpu/gpu-ports.ts'
import { withConfirmedStart } from '../../../src/infra/generation/confirmed-start.ts'
import { createFakeRunner } from '../../support/fake-runner.ts'
import { aRequest, jobId } from '../../support/jobs.ts'

describe('the start of a generation on a node of a cluster', () => {
  it('happens at once while beats confirm the node', () => {
    const { start, asked, generations } = aNode({ isConfirmed: () => true })
    start()
    expect(generations).toMatchObject([{ began: 'started', order }])
    expect(asked).toEqual([])
  })

  it('happens after the database has confirmed the attempt when the latest beat is too old', async () => {
    const { start, asked, generations } = aNode({ isConfirmed: () => false })
    const { handle } = start()
    expect(generations).toEqual([])
    await vi.waitFor(() => expect(generations).toHaveLength(1))
    expect(asked).toMatchObject([{ jobId: jobId(1), epoch: 3 }])
    handle.stop('canceled', 7)
    expect(generations[0]?.stops).toEqual([{ reason: 'canceled', graceMs: 7 }])
  })

  it('does not happen when the job has ended or runs in another attempt', async () => {
    const { start, generations } = aNode({ isCurrent: async () => false })
    const { results } = start()
    await vi.waitFor(() => expect(results).toEqual([{ how: 'neverBegan' }]))
    expect(generations).toEqual([])
  })

  it('asks again when the answer took so long that it may be outdated', async () => {
    const answers = [true, false]
    const isCurrent = async () => {
      await new Promise((resolve) => setTimeout(resolve, 20))
      return answers.shift() ?? false
    }
    const { start, generations } = aNode({ isCurrent, maxAgeMs: 5 })
    const { results } = start()
    await vi.waitFor(() => expect(results).toEqual([{ how: 'neverBegan' }]))
    expect(generations).toEqual([])
  })

  it('does not happen when the job is stopped while the database does not answer', async () => {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const { start, generations } = aNode({ isCurrent: () => promise })
    const { handle, results } = start()
    handle.stop('canceled', 0)
    handle.stop('canceled', 0)
    resolve(true)
    await promise
    await Promise.resolve()
    expect(results).toEqual([{ how: 'neverBegan' }])
    expect(generations).toEqual([])
  })

  it('fails as by the environment when the attempt cannot be read', async () => {
    const isCurrent = () => Promise.reject(new Error('no such role'))
    const { results } = aNode({ isCurrent }).start()
    await vi.waitFor(() => expect(results).toHaveLength(1))
    const failure = { code: 'environment_broken', message: expect.stringMatching('no such role') }
    expect(results).toEqual([{ how: 'failed', failure }])
  })
})

const order = { jobId: jobId(1), epoch: 3, request: aRequest() } as const

function aNode(options: Partial<Parameters<typeof withConfirmedStart>[1]>) {
  const { runner, generations } = createFakeRunner()
  const asked: unknown[] = []
  const confirmed = withConfirmedStart(runner, {
    isConfirmed: () => false,
    async isCurrent(attempt) {
      asked.push(attempt)
      return true
    },
    maxAgeMs: 60_000,
    ...options,
  })
  const start = () => {
    const results: GenerationResult[] = []
    const handle = confirmed.start(order, {
      started() {},
      reported() {},
      ended: (result) => void results.push(result),
    })
    return { handle, results }
  }
  return { start, asked, generations }
}
