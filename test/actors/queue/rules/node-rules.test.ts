import { describe, expect, it } from 'vitest'
import { createPlace } from '../../../../src/actors/actor.ts'
import { gpuWorkOf } from '../../../../src/actors/queue/journal/gpu-work.ts'
import { summaryOf, view } from '../../../../src/actors/queue/queue-answers.ts'
import type { QueueEffect } from '../../../../src/actors/queue/queue-effects.ts'
import type { StoredQueue } from '../../../../src/actors/queue/queue-ports.ts'
import type {
  CancelAnswer,
  GpuUse,
  NodeUse,
  QueueCommand,
  QueueNews,
  SubmitAnswer,
} from '../../../../src/actors/queue/queue-protocol.ts'
import { restoreQueue } from '../../../../src/actors/queue/queue-restore.ts'
import { healthOf, type QueueSettings } from '../../../../src/actors/queue/queue-state.ts'
import { transition } from '../../../../src/actors/queue/rules/queue-transition.ts'
import type { RefusalError } from '../../../../src/domain/errors.ts'
import type { AttemptKey, GpuId } from '../../../../src/domain/job.ts'
import type { NodeName } from '../../../../src/domain/node.ts'
import {
  aFailure,
  anybody,
  aQueuedJob,
  aRequest,
  aRunningJob,
  emptyQueue,
  gpu0,
  gpu1,
  gpu2,
  jobId,
  midnight,
  queueSettings,
  sentOnce,
} from '../../../support/jobs.ts'
import { createPlainStore, type PlainStore } from '../../../support/plain-store.ts'

const [home, away] = ['home', 'away'] as [NodeName, NodeName]
const operator = createPlace<NodeUse | 'removed' | RefusalError>('operator')
const someone = createPlace<GpuUse | RefusalError>('someone')
const canceler = createPlace<CancelAnswer>('canceler')

describe('the limits of a node', () => {
  it('let each node load as many models as it may, whatever the others load', () => {
    const queue = aQueue({ maxConcurrentLoads: 1 })
    queue.joins(away, [gpu1, gpu2], 1)
    queue.ready(gpu0, gpu1, gpu2)
    expect(queue.submits(1, 2, 3)).toEqual([gpu0, gpu1])
    expect(claims(queue.joins(away, [gpu1, gpu2], 2))).toEqual([gpu2])
  })

  it('give a template its turn among the loads of its own node', () => {
    const queue = aQueue({ maxConcurrentLoads: 1 })
    queue.joins(away, [gpu1], 1)
    queue.ready(gpu0, gpu1)
    const turn = { do: 'giveTemplateTurn', node: away, build: 7 } as const
    expect(queue.tell({ type: 'templateWaits', node: away, build: 7 })).toContainEqual(turn)
    expect(queue.submits(1, 2)).toEqual([gpu0])
    expect(claims(queue.tell({ type: 'templateSettled', node: away, build: 7 }))).toEqual([gpu1])
  })

  it('keep jobs from a full node, and refuse none while another has room', () => {
    const queue = aQueue()
    queue.joins(away, [gpu1])
    queue.tell({ type: 'roomChecked', hasRoom: false })
    queue.ready(gpu0, gpu1)
    expect(queue.submits(1, 2)).toEqual([gpu1])
    expect(summaryOf(queue.state())).toMatchObject({ hasRoom: true })
    queue.tell({ type: 'roomChecked', node: away, hasRoom: false, shortage: 'files' })
    expect(queue.refusalOf(3)).toMatchObject({ code: 'disk_full' })
    expect(summaryOf(queue.state())).toMatchObject({
      ...{ hasRoom: false, hold: { reason: 'disk', detail: expect.stringContaining('home: ') } },
    })
  })

  it('refuse jobs while all nodes with GPUs are full, whatever room a node without GPUs has', () => {
    const queue = aQueue({ gpus: [] })
    queue.joins(away, [gpu1])
    queue.tell({ type: 'roomChecked', node: away, hasRoom: false })
    expect(queue.refusalOf(1)).toMatchObject({ code: 'disk_full' })
    expect(summaryOf(queue.state())).toMatchObject({ hasRoom: false, hold: { reason: 'disk' } })
    queue.tell({ type: 'roomChecked', node: away, hasRoom: true })
    queue.tell({ type: 'roomChecked', node: home, hasRoom: false })
    queue.ready(gpu1)
    expect(queue.submits(2)).toEqual([gpu1])
  })

  it('pause the claims of the node alone on which the environment fails', () => {
    const queue = aQueue()
    queue.joins(away, [gpu1])
    queue.ready(gpu0, gpu1)
    queue.submits(1, 2)
    const failed = queue.ends(2, 'environment_broken')
    expect(failed).toContainEqual({ do: 'expectPause', node: away, pause: 1, withinMs: 1_000 })
    expect(claims(failed)).toEqual([])
    expect(claims(queue.ends(1))).toEqual([gpu0])
    expect(queue.submits(3)).toEqual([])
    expect(gpuWorkOf(queue.state()).get(gpu1)).toEqual([{ work: 'blocked' }])
    expect(claims(queue.tell({ type: 'pauseEnded', node: away, pause: 1 }))).toEqual([gpu1])
  })

  it('are shown with the hold and the failed checks of each present node', () => {
    const queue = aQueue()
    queue.joins(away, [gpu1])
    const script = { name: 'generate.py', ok: false, detail: 'Set WAN_DIR.' }
    queue.tell({ type: 'environmentChecked', node: away, checks: [script] })
    expect(summaryOf(queue.state()).nodes).toEqual([
      { name: home, gpus: [gpu0], failed: [] },
      {
        ...{ name: away, gpus: [gpu1], failed: [script] },
        hold: { reason: 'environment', detail: 'generate.py: Set WAN_DIR.' },
      },
    ])
    queue.tell({ type: 'nodeLost', node: away, gpus: [gpu1] })
    expect(summaryOf(queue.state()).nodes.map(({ name }) => name)).toEqual([home])
  })

  it('ignore news of a node that nobody knows', () => {
    const queue = aQueue()
    const before = queue.state()
    const node = 'nobody' as NodeName
    expect(queue.tell({ type: 'roomChecked', node, hasRoom: false })).toEqual([])
    expect(queue.tell({ type: 'environmentChecked', node, checks: [] })).toEqual([])
    expect(queue.tell({ type: 'templateWaits', node, build: 1 })).toEqual([])
    expect(queue.state()).toBe(before)
  })
})

describe('a node', () => {
  it('is welcomed when it joins, and changes nothing when it says so again', () => {
    const queue = aQueue()
    expect(queue.joins(away, [gpu1])).toEqual([{ do: 'welcomeNode', node: away }])
    queue.ready(gpu1)
    const { nodes, gpus } = queue.state()
    expect(queue.joins(away, [gpu1])).toEqual([])
    expect(queue.state()).toMatchObject({ nodes, gpus })
  })

  it('takes a GPU with it that it announces, and gives up one that it has no more', () => {
    const queue = aQueue()
    queue.joins(away, [gpu1])
    queue.ready(gpu1)
    queue.joins('other' as NodeName, [gpu1])
    expect(queue.submits(1)).toEqual([])
    expect(queue.gpu(gpu1)).toMatchObject({ node: 'other', ready: false })
    expect(queue.state().gpus).toEqual([gpu0, gpu1])
    queue.joins('other' as NodeName, [])
    expect(queue.state().gpus).toEqual([gpu0])
  })

  it('is shown with the jobs that run on it', () => {
    const queue = aQueue()
    queue.joins(away, [gpu1])
    queue.ready(gpu1)
    queue.submits(1)
    expect(view(aRunningJob(1, { gpu: gpu1 }), queue.state())).toMatchObject({ node: away })
  })

  it('that was stopped gets no jobs, and adopts what it had when it is back', () => {
    const queue = aQueue()
    queue.joins(away, [gpu1])
    queue.ready(gpu1)
    queue.submits(1)
    expect(queue.tell({ type: 'nodeLeft', node: away, gpus: [gpu1] })).toEqual([])
    expect(queue.running(1)).toMatchObject({ gpu: gpu1, epoch: 1 })
    queue.tell({ type: 'careDue', jobId: jobId(1), epoch: 1 })
    expect(queue.running(1)).not.toHaveProperty('isInCare')
    expect(queue.joins(away, [gpu1])).toEqual([{ do: 'welcomeNode', node: away }])
    expect(queue.readyAgain(gpu1)).toContainEqual(
      expect.objectContaining({ do: 'adoptGeneration', gpu: gpu1 }),
    )
  })

  it.each(['drainNode', 'resumeNode'] as const)('has each of its GPUs changed by %s', (type) => {
    const queue = aQueue()
    queue.joins(away, [gpu1, gpu2])
    queue.ready(gpu0, gpu1, gpu2)
    if (type === 'resumeNode') queue.tell({ type: 'drainNode', node: away, replyTo: operator })
    const effects = queue.tell({ type, node: away, replyTo: operator })
    const drained = type === 'drainNode'
    expect(operations(effects)).toEqual([
      { op: 'setNodeDrained', node: away, drained },
      ...[gpu1, gpu2].map((gpu) => ({
        ...{ op: 'setGpuHealth', gpu, health: { drained, failures: [] } },
      })),
    ])
    expect(answers(effects)).toMatchObject([{ name: away, drained }])
    expect(queue.submits(1, 2, 3)).toEqual(drained ? [gpu0] : [gpu0, gpu1, gpu2])
  })

  it.each(['by the same queue', 'by a queue that has started since'])(
    'that is drained has a GPU drained that is added later: %s',
    (seen) => {
      const store = createPlainStore()
      const first = aQueue({}, store.load(), store)
      first.joins(away, [gpu1])
      first.tell({ type: 'drainNode', node: away, replyTo: operator })
      const queue = seen === 'by the same queue' ? first : aQueue({}, store.load(), store)
      queue.joins(away, [gpu1, gpu2])
      queue.ready(gpu0, gpu1, gpu2)
      expect(queue.submits(1, 2)).toEqual([gpu0])
      expect(store.load().gpus.get(gpu2)).toMatchObject({ drained: true })
      expect(claims(queue.tell({ type: 'resumeNode', node: away, replyTo: operator }))).toEqual([
        gpu1,
      ])
      expect(queue.submits(3)).toEqual([gpu2])
    },
  )

  it('that was drained while it was away is drained when it joins', () => {
    const store = createPlainStore()
    const first = aQueue({}, store.load(), store)
    first.tell({ type: 'nodeLeft', node: away, gpus: [] })
    const drained = first.tell({ type: 'drainNode', node: away, replyTo: operator })
    expect(answers(drained)).toMatchObject([{ name: away, drained: true }])
    const queue = aQueue({}, store.load(), store)
    queue.joins(away, [gpu1])
    queue.ready(gpu1)
    expect(queue.submits(1)).toEqual([])
  })

  it('one of whose GPUs is resumed keeps the others drained, and not those that are added later', () => {
    const store = createPlainStore()
    const options = { gpus: [gpu0, gpu1] }
    const first = aQueue({ gpus: [gpu0] }, store.load(), store)
    first.tell({ type: 'drainNode', node: home, replyTo: operator })
    const second = aQueue(options, store.load(), store)
    second.ready(gpu0, gpu1)
    expect(second.submits(1)).toEqual([])
    expect(claims(second.tell({ type: 'resumeGpu', gpu: gpu0, replyTo: someone }))).toEqual([gpu0])
    const third = aQueue({ gpus: [gpu0, gpu1, gpu2] }, store.load(), store)
    third.ready(gpu1, gpu2)
    expect(third.submits(2, 3)).toEqual([gpu2])
  })

  it.each(['drainNode', 'resumeNode', 'removeNode'] as const)(
    'that nobody knows is refused by name: %s',
    (type) => {
      const node = 'nobody' as NodeName
      expect(answers(aQueue().tell({ type, node, replyTo: operator }))).toMatchObject([
        { code: 'node_not_found' },
      ])
    },
  )

  it('is not removed while it is there', () => {
    const queue = aQueue()
    queue.joins(away, [gpu1])
    for (const node of [home, away]) {
      const effects = queue.tell({ type: 'removeNode', node, replyTo: operator })
      expect(answers(effects)).toMatchObject([{ code: 'node_present' }])
    }
  })
})

describe('a node that is lost', () => {
  it('gives its jobs back to their old places before another is claimed, and no attempt is counted', () => {
    const queue = running(1, 2)
    queue.submits(3)
    queue.ends(1)
    expect(queue.running(3)).toMatchObject({ gpu: gpu0 })
    queue.submits(4)
    const effects = queue.loses(away)
    expect(operations(effects)).toMatchObject([
      { op: 'release', jobId: jobId(2), attempts: 0, failure: { code: 'node_lost' } },
    ])
    expect(claims(queue.ends(3))).toEqual([gpu0])
    expect(queue.running(2)).toMatchObject({ gpu: gpu0, epoch: 2, attempts: 1 })
  })

  it('gives back what it was converting', () => {
    const queue = running(1, 2)
    queue.ends(2)
    expect(operations(queue.loses(away))).toMatchObject([{ op: 'release', jobId: jobId(2) }])
  })

  it('ends its jobs where ORPHAN_POLICY is fail', () => {
    const queue = running(1, 2, { orphanPolicy: 'fail' })
    expect(operations(queue.loses(away))).toMatchObject([
      { op: 'finish', outcome: { status: 'error', failure: { code: 'node_lost' } } },
    ])
  })

  it('does not make a job canceled that was to be canceled there', () => {
    const queue = running(1, 2)
    queue.cancels(2)
    const effects = queue.loses(away)
    expect(operations(effects)).toMatchObject([
      { op: 'finish', outcome: { status: 'error', failure: { code: 'node_lost' } } },
    ])
    expect(answers(effects)).toEqual([{ canceled: [], canceling: [], rest: [jobId(2)] }])
  })

  it('does not make a job canceled that waits or runs elsewhere since', () => {
    const waiting = running(1, 2)
    waiting.loses(away)
    expect(answers(waiting.cancels(2))).toEqual([{ canceled: [], canceling: [], rest: [jobId(2)] }])
    const again = running(1, 2)
    again.loses(away)
    again.ends(1)
    again.cancels(2)
    expect(operations(again.ends(2, 'killed'))).toMatchObject([
      { op: 'finish', outcome: { status: 'error', failure: { code: 'node_lost' } } },
    ])
  })

  it('makes it canceled once it has said that nothing is left, or the operator that it is off', () => {
    for (const accountFor of ['return', 'removal']) {
      const queue = running(1, 2)
      queue.loses(away)
      if (accountFor === 'return') {
        queue.tell({ type: 'drainGpu', gpu: gpu1, replyTo: someone })
        queue.joins(away, [gpu1])
        queue.readyAgain(gpu1)
      } else {
        const removed = queue.tell({ type: 'removeNode', node: away, replyTo: operator })
        expect(answers(removed)).toEqual(['removed'])
      }
      expect(answers(queue.cancels(2))).toMatchObject([{ canceled: [jobId(2)] }])
    }
  })

  it.each(['return', 'removal', 'removal before it was lost'])(
    'leaves nothing in doubt for a queue that starts after its %s',
    (accountFor) => {
      const store = createPlainStore()
      const queue = running(1, 2, {}, store)
      if (accountFor === 'removal before it was lost') {
        queue.tell({ type: 'nodeLeft', node: away, gpus: [gpu1] })
      } else queue.loses(away)
      if (accountFor === 'return') {
        queue.tell({ type: 'drainGpu', gpu: gpu1, replyTo: someone })
        queue.joins(away, [gpu1])
        queue.readyAgain(gpu1)
      } else queue.tell({ type: 'removeNode', node: away, replyTo: operator })
      const next = aQueue({}, store.load(), store)
      expect(answers(next.cancels(2))).toMatchObject([{ canceled: [jobId(2)] }])
    },
  )

  describe('and returns with a process that survives SIGKILL', () => {
    const returns = (queue: Queue) => {
      queue.loses(away)
      queue.joins(away, [gpu1])
      queue.tell({ type: 'processesLeft', gpu: gpu1 })
      return queue.readyAgain(gpu1)
    }
    const resumeGpu = { type: 'resumeGpu', gpu: gpu1, replyTo: someone } as const

    it('gets no job there until an operator resumes the GPU', () => {
      const queue = running(1, 2)
      expect(claims(returns(queue))).toEqual([])
      expect(queue.health(gpu1).quarantine).toMatchObject({ reason: 'unkillable', strikes: 1 })
      // After each later welcome it says so again.
      expect(queue.tell({ type: 'processesLeft', gpu: gpu1 })).toEqual([])
      expect(claims(queue.tell(resumeGpu))).toEqual([gpu1])
    })

    it('does not make its job canceled until an operator resumes the GPU or the node', () => {
      const resumeNode = { type: 'resumeNode', node: away, replyTo: operator } as const
      for (const resume of [undefined, resumeGpu, resumeNode]) {
        const queue = running(1, 2)
        queue.tell({ type: 'drainGpu', gpu: gpu0, replyTo: someone })
        returns(queue)
        if (resume) queue.tell(resume)
        const effects = [...queue.cancels(2), ...(resume ? queue.ends(2, 'killed') : [])]
        const outcome = resume
          ? { status: 'canceled' }
          : { status: 'error', failure: { code: 'unkillable' } }
        expect(operations(effects).at(-1)).toMatchObject({ op: 'finish', outcome })
      }
    })
  })

  it('stays in doubt for a queue that starts before anybody has accounted for it', () => {
    const store = createPlainStore()
    running(1, 2, {}, store).loses(away)
    const next = aQueue({}, store.load(), store)
    expect(answers(next.cancels(2))).toMatchObject([{ canceled: [], rest: [jobId(2)] }])
  })

  it('makes canceled what was to be canceled on a node that had left, when the operator removes it', () => {
    const queue = running(1, 2)
    queue.tell({ type: 'nodeLeft', node: away, gpus: [gpu1] })
    queue.cancels(2)
    const effects = queue.tell({ type: 'removeNode', node: away, replyTo: operator })
    expect(operations(effects)).toMatchObject([{ op: 'finish', outcome: { status: 'canceled' } }])
  })

  it('is not heard until it has joined again', () => {
    const queue = running(1, 2)
    queue.loses(away)
    const before = queue.state()
    expect(queue.readyAgain(gpu1)).toEqual([])
    expect(queue.state()).toBe(before)
    expect(queue.joins(away, [gpu1])).toEqual([{ do: 'welcomeNode', node: away }])
    expect(claims(queue.readyAgain(gpu1))).toEqual([gpu1])
  })

  it('is known with its GPUs to a queue that has never seen it', () => {
    const running = [aRunningJob(1, { gpu: gpu1 })]
    const queue = aQueue({}, { running })
    expect(operations(queue.loses(away))).toMatchObject([{ op: 'release', jobId: jobId(1) }])
  })
})

describe('a generation on a node that returns', () => {
  const held = { jobId: jobId(2), epoch: 1 }

  it('is taken back while its job waits unclaimed, and nothing is generated twice', () => {
    const queue = running(1, 2)
    queue.tell({ type: 'generationStarted', gpu: gpu1, startedAt: midnight + 9, ...held })
    const before = queue.running(2)
    queue.loses(away)
    queue.joins(away, [gpu1])
    const effects = queue.readyAgain(gpu1, held)
    expect(operations(effects)).toEqual([
      {
        ...{ op: 'reclaim', ...held, attempt: 1, gpu: gpu1, filename: before?.filename },
        ...{ claimedAt: midnight, startedAt: midnight + 9, at: midnight },
      },
    ])
    expect(queue.running(2)).toEqual(before)
    expect(claims(queue.ends(2))).toEqual([])
  })

  it('is taken back by a queue that has started meanwhile', () => {
    const lost = [{ ...held, gpu: gpu1, claimedAt: midnight - 5 }]
    const queue = aQueue({}, { waiting: [aQueuedJob(2, { epoch: 1 })], lost })
    queue.joins(away, [gpu1])
    const effects = queue.readyAgain(gpu1, held)
    expect(operations(effects)).toMatchObject([{ op: 'reclaim', claimedAt: midnight - 5 }])
  })

  it.each<[why: string, befalls: (queue: Queue) => void, options?: Partial<QueueSettings>]>([
    ['its job was claimed again', (queue) => queue.ends(1)],
    [
      'its job was claimed and given back since',
      (queue) => {
        queue.ends(1)
        queue.tell({ type: 'gpuGone', gpu: gpu0, givenUp: false })
        queue.ends(2, 'gpu_error')
      },
    ],
    ['its job was canceled', (queue) => queue.cancels(2)],
    ['ORPHAN_POLICY is requeue', () => {}, { orphanPolicy: 'requeue' }],
    ['ORPHAN_POLICY is fail', () => {}, { orphanPolicy: 'fail' }],
    ['the service stops', (queue) => queue.closes()],
  ])('is stopped when %s', (_why, befalls, options = {}) => {
    const queue = running(1, 2, options)
    queue.loses(away)
    befalls(queue)
    queue.joins(away, [gpu1])
    expect(queue.readyAgain(gpu1, held)).toEqual([
      { do: 'stopGeneration', ...held, gpu: gpu1, reason: 'orphaned' },
    ])
    expect(queue.gpu(gpu1)).toMatchObject({ ready: false })
  })

  it('is stopped when it is on another GPU than the one that was lost with it', () => {
    const queue = running(1, 2)
    queue.joins(away, [gpu1, gpu2])
    queue.loses(away)
    queue.joins(away, [gpu1, gpu2])
    expect(queue.readyAgain(gpu2, held)).toMatchObject([{ do: 'stopGeneration', gpu: gpu2 }])
  })
})

type Queue = ReturnType<typeof aQueue>

/** Job 1 runs on GPU 0 at home, job 2 on GPU 1 away. */
function running(
  first: number,
  second: number,
  options: Partial<QueueSettings> = {},
  store?: PlainStore,
) {
  const queue = aQueue(options, store?.load(), store)
  queue.ready(gpu0)
  queue.submits(first)
  queue.joins(away, [gpu1])
  queue.ready(gpu1)
  queue.submits(second)
  return queue
}

/** The queue's rules on a first node with GPU 0. */
function aQueue(
  options: Partial<QueueSettings> = {},
  stored: Partial<StoredQueue> = {},
  store?: PlainStore,
) {
  let state = restoreQueue(
    { ...queueSettings, node: home, gpus: [gpu0], ...options },
    {
      ...{
        ...emptyQueue,
        nextSeq: 10,
      },
      ...stored,
    },
  )
  const gpusOf = new Map<NodeName, readonly GpuId[]>([[away, [gpu1]]])
  const tell = (message: QueueCommand | QueueNews): readonly QueueEffect[] => {
    const [next, effects] = transition(state, message, midnight)
    state = next
    for (const effect of effects) if (effect.do === 'store') store?.apply(effect.operation)
    return effects
  }
  const submit = (n: number) => {
    const replyTo = createPlace<SubmitAnswer>('submitter')
    const at = { client: anybody, ...sentOnce(n), nameTaken: false, replyTo }
    return tell({ type: 'admit', jobId: jobId(n), request: aRequest(), ...at })
  }
  const readyAgain = (gpu: GpuId, holding?: AttemptKey, incarnation = `gpu-${gpu}.2`) =>
    tell({ type: 'gpuReady', gpu, incarnation, ...(holding && { holding }) })
  return {
    tell,
    readyAgain,
    state: () => state,
    submits: (...ns: number[]) => ns.flatMap((n) => claims(submit(n))),
    refusalOf: (n: number) => answers(submit(n))[0],
    joins(node: NodeName, gpus: readonly GpuId[], maxConcurrentLoads = 9) {
      gpusOf.set(node, gpus)
      return tell({ type: 'nodeJoined', node, gpus, maxConcurrentLoads })
    },
    loses: (node: NodeName) => tell({ type: 'nodeLost', node, gpus: gpusOf.get(node) ?? [] }),
    ready: (...gpus: GpuId[]) => gpus.map((gpu) => readyAgain(gpu, undefined, `gpu-${gpu}.1`)),
    ends(n: number, code?: Parameters<typeof aFailure>[0]) {
      const key = { jobId: jobId(n), epoch: state.running.get(jobId(n))?.epoch ?? 0 }
      const result = code
        ? ({ how: 'failed', failure: aFailure(code) } as const)
        : ({ how: 'completed' } as const)
      return tell({ type: 'generationEnded', ...key, result })
    },
    cancels: (n: number) =>
      tell({
        ...{ type: 'cancel', selection: { ids: [jobId(n)] }, scope: 'everything' },
        replyTo: canceler,
      }),
    closes: () => tell({ type: 'close', mode: 'detach', replyTo: createPlace<'closed'>('nobody') }),
    running: (n: number) => state.running.get(jobId(n)),
    health: (gpu: GpuId) => healthOf(state, gpu),
    gpu: (gpu: GpuId) => ({ node: state.nodeOf.get(gpu), ready: state.readyGpus.has(gpu) }),
  }
}

const claims = (effects: readonly QueueEffect[]): GpuId[] =>
  effects.flatMap((effect) => (effect.do === 'startGeneration' ? [effect.gpu] : []))

const operations = (effects: readonly QueueEffect[]) =>
  effects.flatMap((effect) => (effect.do === 'store' ? [effect.operation] : []))

const answers = (effects: readonly QueueEffect[]) =>
  effects.flatMap((effect) => (effect.do === 'answer' ? [effect.value] : []))
