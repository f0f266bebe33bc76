import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { ask, tell } from '../../../src/actors/actor.ts'
import type { ArchiveMessage } from '../../../src/actors/archive/archive-protocol.ts'
import type { ConversionMessage } from '../../../src/actors/conversion/conversion-protocol.ts'
import type { EtaMessage } from '../../../src/actors/eta/eta-protocol.ts'
import type { EventMessage } from '../../../src/actors/event/event-protocol.ts'
import type { CaretakerMessage } from '../../../src/actors/gpu/caretaker-transition.ts'
import type { GpuMessage } from '../../../src/actors/gpu/gpu-protocol.ts'
import type { NodeMessage } from '../../../src/actors/node/node-protocol.ts'
import { queueBehaviour } from '../../../src/actors/queue/queue-actor.ts'
import type { CommitResult, QueueOperation } from '../../../src/actors/queue/queue-ports.ts'
import type { CancelAnswer } from '../../../src/actors/queue/queue-protocol.ts'
import type { TemplateMessage } from '../../../src/actors/template/template-protocol.ts'
import type { WebhookMessage } from '../../../src/actors/webhook/webhook-protocol.ts'
import { DatabaseUnreachableError, DiskFullError } from '../../../src/domain/errors.ts'
import type { UploadedImage } from '../../../src/domain/job.ts'
import { type NodeName, soleNode } from '../../../src/domain/node.ts'
import type { Observation, Observe } from '../../../src/domain/observation.ts'
import {
  aFailure,
  anActor,
  anybody,
  aRequest,
  fromAnybody,
  gpu0,
  gpu1,
  jobId,
  midnight,
  queueSettings,
} from '../../support/jobs.ts'
import { createProbe } from '../../support/probe.ts'
import { createSqliteStores } from '../../support/store/sqlite-stores.ts'

describe('the actor of the queue', () => {
  it('has a conversion begun before it has it aborted, however soon it is canceled', async () => {
    const attempt = { jobId: jobId(1), epoch: 1 }
    const { actor, node, conversion } = await aQueueActorWith([
      { op: 'submit', jobId: jobId(1), seq: 1, request: aRequest(), ...fromAnybody, at: midnight },
      { op: 'claim', ...attempt, attempt: 1, gpu: gpu0, filename: 'fox.mp4', at: midnight },
    ])
    expect(await node.next()).toEqual({ type: 'welcome' })
    const { ref: replyTo } = createProbe<CancelAnswer>('canceler')
    tell(actor.ref, { type: 'generationEnded', result: { how: 'completed' }, ...attempt })
    tell(actor.ref, {
      type: 'cancel',
      selection: { ids: [jobId(1)] },
      scope: 'everything',
      replyTo,
    })
    expect([await conversion.next(), await conversion.next()]).toEqual([
      { type: 'convert', ...attempt, filename: 'fox.mp4', request: aRequest() },
      { type: 'abort', ...attempt, filename: 'fox.mp4' },
    ])
  })

  it('has a generation stopped on the GPU that reports it for an ended job', async () => {
    const { actor, gpu } = await aQueueActorWith([])
    const attempt = { jobId: jobId(1), epoch: 1 }
    const reading = { stage: 'denoising' } as const
    tell(actor.ref, { type: 'generationReported', gpu: gpu0, reading, ...attempt })
    expect(await gpu.next()).toEqual({ type: 'stopGeneration', reason: 'orphaned', ...attempt })
  })

  it('welcomes a node that returns, and lists all nodes and GPUs', async () => {
    const { actor, node: machine } = await aQueueActorWith([])
    expect(await machine.next()).toEqual({ type: 'welcome' })
    const node = 'away' as NodeName
    tell(actor.ref, { type: 'nodeLost', node, gpus: [gpu0] })
    const nodes = () => ask(actor.ref, { type: 'describeNodes' })
    await expect.poll(nodes).toMatchObject([
      { name: soleNode, presence: 'present' },
      { name: node, presence: 'lost' },
    ])
    tell(actor.ref, { type: 'nodeJoined', node, gpus: [gpu0], maxConcurrentLoads: 1 })
    expect(await machine.next()).toEqual({ type: 'welcome' })
    expect(await ask(actor.ref, { type: 'describeGpus' })).toMatchObject([
      { gpu: gpu0, node },
      { gpu: gpu1, node: soleNode },
    ])
  })

  it('is seen to do what is on disk, once, however often that had to be tried', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const attempt = { jobId: jobId(1), epoch: 1 }
    const seen: Observation[] = []
    let failures = 2
    const { actor, node } = await aQueueActorWith(
      [
        {
          op: 'submit',
          ...{ jobId: jobId(1), seq: 1, request: aRequest(), ...fromAnybody, at: midnight },
        },
        { op: 'claim', ...attempt, attempt: 1, gpu: gpu0, filename: 'fox.mp4', at: midnight },
      ],
      {
        observe: (observation) => seen.push(observation),
        beforeCommit() {
          if (failures-- <= 0) return undefined
          return { how: 'full', error: new DiskFullError('the disk is full') }
        },
      },
    )
    await node.next()
    const result = { how: 'failed', failure: aFailure('no_output') } as const
    tell(actor.ref, { type: 'generationEnded', result, ...attempt })
    const kinds = () => seen.map(({ saw }) => saw)
    // Each poll advances the timers.
    await expect.poll(kinds).toContain('jobEnded')
    const ofCommits = ['commitFailed', 'committed', 'jobEnded']
    expect(kinds().filter((kind) => ofCommits.includes(kind))).toEqual([
      'commitFailed',
      'commitFailed',
      'committed',
      'jobEnded',
    ])
    expect(seen.find(({ saw }) => saw === 'jobEnded')).toMatchObject({ end: { code: 'no_output' } })
  })

  it('rejects a submission whose image could not be stored with the reason, and takes the next one', async () => {
    const cause = new DatabaseUnreachableError('PostgreSQL cannot be used')
    let failures = 1
    const { actor } = await aQueueActorWith([], {
      async keepImage() {
        if (failures-- > 0) throw cause
      },
    })
    const draft = { ...aRequest({ filename: 'fox.mp4' }), image: anUpload }
    const submission = { draft, client: anybody, repetition: { isRetry: false } }
    const submit = () => ask(actor.ref, { type: 'submit', ...submission })
    await expect(submit()).rejects.toMatchObject({ name: 'ActorFailedError', cause })
    expect(await submit()).toMatchObject({ position: 1, job: { request: { filename: 'fox.mp4' } } })
  })

  it('reloads the store after a stale change, and continues', async () => {
    const { actor, node, archive, store } = await aQueueActorWith([submit(1), submit(2)])
    await node.next()
    const outcome = { status: 'canceled' } as const
    await store.commit([{ op: 'finish', jobId: jobId(1), epoch: 0, outcome, at: midnight }])
    const selection = { ids: [jobId(1)] }
    const late = ask(actor.ref, { type: 'cancel', selection, scope: 'everything' })
    await expect(late).rejects.toThrow('the store could not write')
    // As at its start: others announce themselves, and those who look on are shown the queue.
    expect(await node.next()).toEqual({ type: 'welcome' })
    expect(await ask(actor.ref, { type: 'describeQueue' })).toMatchObject({ waiting: 1 })
    expect(archive.told.at(-1)).toMatchObject({ type: 'queueChanged' })
    const other = { type: 'cancel', selection: { ids: [jobId(2)] }, scope: 'everything' } as const
    expect(await ask(actor.ref, other)).toMatchObject({ canceled: [jobId(2)] })
  })
})

const anUpload: UploadedImage = {
  ...{ uploadId: 'one', type: 'png', width: 64, height: 64, bytes: 1, sha256: '0' },
}

const submit = (n: number): QueueOperation => ({
  op: 'submit',
  jobId: jobId(n),
  seq: n,
  request: aRequest(),
  ...fromAnybody,
  at: midnight,
})

async function aQueueActorWith(
  operations: readonly QueueOperation[],
  {
    observe = () => {},
    beforeCommit = () => undefined,
    keepImage = async () => {},
  }: {
    observe?: Observe
    beforeCommit?(): CommitResult | undefined
    keepImage?(): Promise<void>
  } = {},
) {
  const { jobs: store, close } = await createSqliteStores()
  onTestFinished(close)
  await store.commit(operations)
  const gpu = createProbe<GpuMessage>('gpu')
  const conversion = createProbe<ConversionMessage>('conversion')
  const archive = createProbe<ArchiveMessage>('archive')
  const node = createProbe<NodeMessage>('node')
  const actors = {
    node: node.ref,
    conversion: conversion.ref,
    caretaker: createProbe<CaretakerMessage>('caretaker').ref,
    template: createProbe<TemplateMessage>('template').ref,
    gpu: () => gpu.ref,
  }
  const quiet = () => {}
  const actor = anActor(
    'queue',
    queueBehaviour({
      settings: queueSettings,
      store: {
        ...store,
        commit: async (changes) => beforeCommit() ?? store.commit(changes),
      },
      results: { exists: async () => false },
      workFiles: { discard: async () => {}, keepImage },
      fleet: {
        at: () => actors,
        nodeOf: () => soleNode,
        present: () => [actors],
        queueRestored: () => void tell(node.ref, { type: 'welcome' }),
      },
      archive: archive.ref,
      eta: createProbe<EtaMessage>('eta').ref,
      events: createProbe<EventMessage>('events').ref,
      webhooks: createProbe<WebhookMessage>('webhooks').ref,
      observe,
      log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    }),
  )
  return { actor, gpu, conversion, node, archive, store }
}
