import { describe, expect, it } from 'vitest'
import { tell } from '../../../src/actors/actor.ts'
import { caretakerBehaviour } from '../../../src/actors/gpu/caretaker-actor.ts'
import type { QueueMessage } from '../../../src/actors/queue/queue-protocol.ts'
import { createFakeRunner } from '../../support/fake-runner.ts'
import { anActor, aRequest, gpu0, gpu1, jobId, midnight } from '../../support/jobs.ts'
import { createProbe } from '../../support/probe.ts'

const attempt = (n: number) => ({ jobId: jobId(n), epoch: 1 })
const order = (n: number) => ({ ...attempt(n), request: aRequest() })

describe('the caretaker', () => {
  it('adopts a generation, reports what becomes of it, and never that its GPU is ready', async () => {
    const { actor, queue, generations } = await aCaretaker()
    tell(actor.ref, { type: 'careFor', gpu: gpu0, order: order(1) })
    await expect.poll(() => generations).toMatchObject([{ began: 'adopted', order: order(1) }])
    generations[0]?.observer.started(midnight, 0)
    expect(await queue.next()).toMatchObject({ type: 'generationStarted', ...attempt(1) })
    generations[0]?.observer.reported({ stage: 'saving' })
    expect(await queue.next()).toMatchObject({
      type: 'generationReported',
      gpu: gpu0,
      ...attempt(1),
    })
    generations[0]?.observer.ended({ how: 'completed' })
    const ended = {
      ...{ type: 'generationEnded', ...attempt(1) },
      result: { how: 'completed' },
    }
    expect(await queue.next()).toEqual(ended)
    tell(actor.ref, { type: 'careFor', gpu: gpu1, order: order(2) })
    await expect.poll(() => generations).toHaveLength(2)
    expect(queue.told).toEqual([])
  })

  it('stops what it watches, and nothing else', async () => {
    const { actor, generations } = await aCaretaker()
    tell(actor.ref, { type: 'careFor', gpu: gpu0, order: order(1) })
    tell(actor.ref, { type: 'stopGeneration', reason: 'canceled', ...attempt(2) })
    tell(actor.ref, { type: 'stopGeneration', reason: 'orphaned', ...attempt(1) })
    await expect.poll(() => generations[0]?.stops).toEqual([{ reason: 'orphaned', graceMs: 2_000 }])
  })

  it('stops what exceeds its time limit', async () => {
    const { actor, generations } = await aCaretaker({ jobTimeoutMs: 0 })
    tell(actor.ref, { type: 'careFor', gpu: gpu0, order: order(1) })
    await expect.poll(() => generations).toHaveLength(1)
    generations[0]?.observer.started(midnight, 0)
    await expect.poll(() => generations[0]?.stops).toMatchObject([{ reason: 'timeout' }])
  })

  it('lets go of a generation that its GPU adopts again', async () => {
    const { actor, queue, generations } = await aCaretaker()
    tell(actor.ref, { type: 'careFor', gpu: gpu0, order: order(1) })
    tell(actor.ref, { type: 'letGo', ...attempt(1) })
    await expect.poll(() => generations[0]?.isDetached()).toBe(true)
    generations[0]?.observer.ended({ how: 'completed' })
    tell(actor.ref, { type: 'careFor', gpu: gpu1, order: order(2) })
    await expect.poll(() => generations).toHaveLength(2)
    expect(queue.told).toEqual([])
  })

  it('tells a queue that asks again what it knows, and adopts nothing twice', async () => {
    const { actor, queue, generations } = await aCaretaker()
    tell(actor.ref, { type: 'careFor', gpu: gpu0, order: order(1) })
    await expect.poll(() => generations).toHaveLength(1)
    generations[0]?.observer.started(midnight, 0)
    await queue.next()
    tell(actor.ref, { type: 'careFor', gpu: gpu0, order: order(1) })
    expect(await queue.next()).toMatchObject({ type: 'generationStarted', ...attempt(1) })
    expect(generations).toHaveLength(1)
  })

  it('detaches from all generations when it ends: they go on', async () => {
    const { actor, generations } = await aCaretaker()
    tell(actor.ref, { type: 'careFor', gpu: gpu0, order: order(1) })
    tell(actor.ref, { type: 'careFor', gpu: gpu1, order: order(2) })
    await expect.poll(() => generations).toHaveLength(2)
    actor.stop()
    await expect.poll(() => generations.every((one) => one.isDetached())).toBe(true)
  })
})

async function aCaretaker({ jobTimeoutMs = 3_600_000 } = {}) {
  const queue = createProbe<QueueMessage>('queue')
  const { runner, generations } = createFakeRunner()
  const runners = new Map([gpu0, gpu1].map((gpu) => [gpu, runner]))
  const options = { runners, queue: queue.ref, graceMs: 2_000, jobTimeoutMs }
  const actor = anActor('caretaker', caretakerBehaviour(options))
  expect(await queue.next()).toEqual({ type: 'caretakerReady' })
  return { actor, queue, generations }
}
