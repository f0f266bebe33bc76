import { describe, expect, it } from 'vitest'
import type { GenerationObserver, GenerationRunner } from '../../src/actors/gpu/gpu-ports.ts'
import { noting, type WatchedAttempts } from '../../src/service/watched-attempts.ts'
import { aRequest, jobId } from '../support/jobs.ts'

describe('watched attempts', () => {
  const order = { jobId: jobId(1), epoch: 1, request: aRequest() }
  const key = { jobId: jobId(1), epoch: 1 }

  it.each(['start', 'adopt'] as const)(
    'are those from their %s until they end or are let go',
    (how) => {
      const { runner, watched, observers } = aRunner()
      runner[how](order, observer)
      expect([...watched.values()]).toEqual([key])
      observers.at(-1)?.ended({ how: 'completed' })
      expect(watched.size).toBe(0)
      runner[how](order, observer).detach()
      expect(watched.size).toBe(0)
    },
  )

  it('stay watched while another actor that follows the same one lets it go', () => {
    const { runner, watched } = aRunner()
    const first = runner.adopt(order, observer)
    runner.adopt(order, observer)
    first.detach()
    expect([...watched.values()]).toEqual([key])
  })
})

const observer: GenerationObserver = { started() {}, reported() {}, ended() {} }

function aRunner() {
  const observers: GenerationObserver[] = []
  const watched: WatchedAttempts = new Map()
  const follow: GenerationRunner['start'] = (_, observer) => {
    observers.push(observer)
    return { stop() {}, detach() {} }
  }
  return { runner: noting({ start: follow, adopt: follow }, watched), watched, observers }
}
