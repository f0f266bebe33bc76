/**
 * A world of several machines around the queue's rules: letters are lost and doubled, machines are cut off,
 * switched off and come back, and the queue starts again on another node with what is in the store.
 * It watches itself: what must never happen throws as soon as it does.
 */
import { strict as assert } from 'node:assert'
import { createPlace } from '../../src/actors/actor.ts'
import type { GenerationResult } from '../../src/actors/gpu/gpu-ports.ts'
import { holdBy } from '../../src/actors/queue/environment-state.ts'
import type { QueueEffect } from '../../src/actors/queue/queue-effects.ts'
import type { QueueOperation } from '../../src/actors/queue/queue-ports.ts'
import type {
  QueueCommand,
  QueueNews,
  SubmitAnswer,
} from '../../src/actors/queue/queue-protocol.ts'
import { restoreQueue } from '../../src/actors/queue/queue-restore.ts'
import type { QueueSettings } from '../../src/actors/queue/queue-state.ts'
import { transition } from '../../src/actors/queue/rules/queue-transition.ts'
import type { AttemptKey, FailureCode, GpuId, JobId, Reading } from '../../src/domain/job.ts'
import type { NodeName } from '../../src/domain/node.ts'
import {
  aFailure,
  anybody,
  aRequest,
  aVideo,
  gpuId,
  jobId,
  midnight,
  queueSettings,
  sentOnce,
} from './jobs.ts'
import { createPlainStore } from './plain-store.ts'

type Order = Readonly<
  { type: 'announce' } | ({ type: 'run' | 'adopt' } & AttemptKey) | ({ type: 'stop' } & AttemptKey)
>

type Gpu = {
  readonly gpu: GpuId
  incarnation: number
  inbox: Order[]
  holding?: AttemptKey | undefined
}

/** `cut`: it goes on, and nothing gets there or comes from there. `off`: all of its processes are gone. */
type Machine = {
  readonly name: NodeName
  readonly gpus: readonly Gpu[]
  readonly limit: number
  way: 'up' | 'cut' | 'off'
  /** As the queue has been told. */
  told: 'joined' | 'left' | 'lost' | 'removed'
  isFull: boolean
}

type Generation = {
  attempt: AttemptKey
  machine: Machine
  gpu: GpuId
  reading?: Reading
  isOver: boolean
}
type Conversion = { attempt: AttemptKey; machine: Machine; aborted: boolean }

const names = ['a', 'b', 'c'] as NodeName[]

export type NodeWorld = ReturnType<typeof createNodeWorld>

export function createNodeWorld(
  options: Pick<QueueSettings, 'orphanPolicy' | 'maxConcurrentLoads'>,
) {
  const store = createPlainStore()
  const machines = names.map((name, index): Machine => {
    const own = index === 1 ? [1, 2] : [index === 0 ? 0 : 3]
    const gpus = own.map((gpu): Gpu => ({ gpu: gpuId(gpu), incarnation: 1, inbox: [] }))
    const limit = options.maxConcurrentLoads
    return { name, gpus, limit, way: 'up', told: 'joined', isFull: false }
  })
  const generations = new Map<string, Generation>()
  const conversions = new Map<string, Conversion>()
  const drained = new Set<GpuId>()
  /** Jobs that were given back, for whatever reason: they may be overtaken. */
  const returned = new Set<JobId>()
  const ended = new Map<JobId, string>()
  const mail: { from: Machine | undefined; message: QueueCommand | QueueNews }[] = []
  let leader = machineAt(0)
  let state = start()
  let now = midnight
  let submissions = 0
  let taken = 0
  for (const machine of machines) handle(joinedNews(machine))

  // --- the queue --------------------------------------------------------------------------------

  function start() {
    const { name: node, gpus, limit: maxConcurrentLoads } = leader
    return restoreQueue(
      { ...queueSettings, ...options, node, gpus: gpus.map(({ gpu }) => gpu), maxConcurrentLoads },
      store.load(),
    )
  }

  function handle(message: QueueCommand | QueueNews): void {
    now += 1
    const [next, effects] = transition(state, message, now)
    state = next
    for (const effect of effects) if (effect.do === 'store') keep(effect.operation)
    for (const effect of effects) perform(effect)
  }

  function keep(operation: QueueOperation): void {
    if (operation.op === 'setGpuHealth') {
      if (operation.health.drained) drained.add(operation.gpu)
      else drained.delete(operation.gpu)
    }
    if (operation.op === 'claim') checkClaim(operation)
    if (operation.op === 'release') returned.add(operation.jobId)
    if (operation.op === 'release' && operation.failure?.code === 'node_lost') {
      const attempts = store.find(operation.jobId)?.attempts ?? 0
      assert.equal(operation.attempts, attempts - 1, 'an attempt on a lost node does not count')
    }
    if (operation.op === 'finish') checkEnd(operation)
    store.apply(operation)
  }

  function perform(effect: QueueEffect): void {
    switch (effect.do) {
      case 'startGeneration':
        order(effect.gpu, { type: 'run', ...keyIn(effect) })
        break
      case 'adoptGeneration':
        order(effect.gpu, { type: 'adopt', ...keyIn(effect) })
        break
      case 'stopGeneration':
        order(effect.gpu, { type: 'stop', ...keyIn(effect) })
        break
      case 'welcomeNode':
        for (const { gpu } of named(effect.node).gpus) order(gpu, { type: 'announce' })
        break
      case 'convert': {
        const machine = named(effect.node)
        if (machine.way !== 'up' || conversions.has(keyOf(effect))) break
        conversions.set(keyOf(effect), { attempt: keyIn(effect), machine, aborted: false })
        break
      }
      case 'abortConversion': {
        const conversion = conversions.get(keyOf(effect))
        const machine = named(effect.node)
        if (conversion) conversion.aborted = true
        else if (machine.way === 'up')
          tell(machine, { type: 'conversionAborted', ...keyIn(effect) })
        break
      }
      case 'continueCancel':
        mail.push({ from: undefined, message: { type: 'cancelContinues', ticket: effect.ticket } })
        break
    }
  }

  // --- machines and mail ------------------------------------------------------------------------

  function machineAt(which: number): Machine {
    const machine = machines[which % machines.length]
    assert(machine)
    return machine
  }

  function named(name: NodeName): Machine {
    const machine = machines.find((one) => one.name === name)
    assert(machine, `there is a machine ${name}`)
    return machine
  }

  function machineOf(gpu: GpuId): Machine {
    const machine = machines.find(({ gpus }) => gpus.some((one) => one.gpu === gpu))
    assert(machine)
    return machine
  }

  function order(gpu: GpuId, order: Order): void {
    const machine = machineOf(gpu)
    if (machine.way !== 'up') return
    machine.gpus.find((one) => one.gpu === gpu)?.inbox.push(order)
  }

  /** News of a machine that is cut off is lost, as is that of a machine that counts as lost. */
  function tell(machine: Machine, message: QueueNews): void {
    if (machine.way === 'up') mail.push({ from: machine, message })
  }

  /** Whenever letters may have been lost, its GPUs are gone, and announce themselves again. */
  function reconnect(machine: Machine): void {
    if (machine.way !== 'up' || machine.told !== 'joined') return
    for (const one of machine.gpus) {
      tell(machine, { type: 'gpuGone', gpu: one.gpu, givenUp: false })
      one.inbox.push({ type: 'announce' })
    }
    tell(machine, { type: 'conversionReady', node: machine.name })
  }

  function readOrder(machine: Machine, one: Gpu): void {
    const next = one.inbox.shift()
    if (!next) return
    if (next.type === 'announce') {
      const { gpu, incarnation, holding } = one
      const who = { gpu, incarnation: `gpu-${gpu}.${incarnation}` }
      tell(machine, { type: 'gpuReady', ...who, ...(holding && { holding }) })
      if (holding) tellProgress(holding)
    } else if (next.type === 'stop') {
      if (isSame(one.holding, next))
        endOn(machine, one, { how: 'failed', failure: aFailure('killed') })
    } else if (!one.holding) take(machine, one, next)
    else if (!isSame(one.holding, next)) tell(machine, { type: 'runDeclined', ...keyIn(next) })
  }

  function take(
    machine: Machine,
    one: Gpu,
    taken: Extract<Order, { type: 'run' | 'adopt' }>,
  ): void {
    const attempt = keyIn(taken)
    const known = generations.get(keyOf(attempt))
    one.holding = attempt
    if (known && known.machine === machine && !known.isOver) tellProgress(attempt)
    else if (known) endOn(machine, one, { how: 'lost' })
    else if (taken.type === 'adopt') endOn(machine, one, { how: 'neverBegan' })
    else {
      generations.set(keyOf(attempt), { attempt, machine, gpu: one.gpu, isOver: false })
      tellProgress(attempt)
    }
  }

  function tellProgress(attempt: AttemptKey): void {
    const generation = generations.get(keyOf(attempt))
    if (!generation) return
    const { gpu, machine, reading } = generation
    tell(machine, { type: 'generationStarted', gpu, startedAt: midnight, ...attempt })
    if (reading) tell(machine, { type: 'generationReported', gpu, reading, ...attempt })
  }

  function endOn(machine: Machine, one: Gpu, result: GenerationResult): void {
    const { holding, gpu, incarnation } = one
    if (!holding) return
    const generation = generations.get(keyOf(holding))
    if (generation) generation.isOver = true
    one.holding = undefined
    tell(machine, { type: 'generationEnded', result, ...holding })
    tell(machine, { type: 'gpuReady', gpu, incarnation: `gpu-${gpu}.${incarnation}` })
  }

  // --- what must be so --------------------------------------------------------------------------

  function checkClaim({ jobId: id, gpu }: Extract<QueueOperation, { op: 'claim' }>): void {
    const machine = machineOf(gpu)
    assert.equal(machine.told, 'joined', 'nothing is claimed on a node that is not there')
    assert(!machine.isFull, 'nothing is claimed on a full node')
    assert(!drained.has(gpu), 'nothing is claimed on a drained GPU')
    const [oldest] = store.having('queued').filter((job) => !returned.has(job.jobId))
    assert(returned.has(id) || oldest?.jobId === id, 'the oldest waiting job is claimed')
    const loads = store.having('running').filter(({ jobId, epoch, attempt }) => {
      if (attempt?.phase !== 'generating' || machineOf(attempt.gpu) !== machine) return false
      const generation = generations.get(keyOf({ jobId, epoch }))
      return !generation?.isOver && (generation?.reading?.stage ?? 'loading') === 'loading'
    })
    assert(loads.length < machine.limit, `${loads.length + 1} load at once on one node`)
  }

  function checkEnd({ jobId: id, outcome }: Extract<QueueOperation, { op: 'finish' }>): void {
    assert(!ended.has(id), 'an end is recorded once')
    ended.set(id, outcome.status)
    if (outcome.status !== 'canceled') return
    const live = [...generations.values()].filter((one) => one.attempt.jobId === id && !one.isOver)
    assert.equal(live.length, 0, 'nothing is left of what is canceled')
  }

  function checkInvariants(): void {
    assert.equal(store.all().length, taken, 'no job is lost')
    const running = store.having('running')
    assert.deepEqual(
      [...state.running.values()].map(({ jobId, epoch, gpu, phase }) => ({
        jobId,
        epoch,
        gpu,
        phase,
      })),
      running.map(({ jobId, epoch, attempt }) => ({
        jobId,
        epoch,
        gpu: attempt?.gpu,
        phase: attempt?.phase,
      })),
      'the queue shows what is stored of running jobs',
    )
    const owners = running.flatMap(({ attempt }) =>
      attempt?.phase === 'generating' ? [attempt.gpu] : [],
    )
    assert.equal(new Set(owners).size, owners.length, 'one recorded owner of each GPU')
    for (const { name, told } of machines) {
      if (told === 'lost' || told === 'removed') {
        const left = running.filter(
          ({ attempt }) => attempt && machineOf(attempt.gpu).name === name,
        )
        assert.equal(left.length, 0, `no job runs on ${name}, which is ${told}`)
      }
    }
  }

  // --- what may happen --------------------------------------------------------------------------

  /** Of those that the queue counts on, the node that leads is not lost. */
  const others = () => machines.filter((machine) => machine !== leader)
  const pick = <T>(list: readonly T[], which: number): T | undefined => list[which % list.length]
  const gpusUp = () =>
    machines.flatMap((machine) => machine.gpus.map((one) => [machine, one] as const))

  function dropMailOf(machine: Machine): void {
    const kept = mail.filter(({ from }) => from !== machine)
    mail.splice(0, mail.length, ...kept)
    for (const one of machine.gpus) one.inbox = []
  }

  const world = {
    submit(): void {
      submissions += 1
      const at = { client: anybody, ...sentOnce(submissions), nameTaken: false }
      const replyTo = createPlace<SubmitAnswer>('submitter')
      const here = machines.filter(({ told }) => told === 'joined' || told === 'left')
      if (here.some(({ isFull }) => !isFull)) taken += 1
      handle({ type: 'admit', jobId: jobId(submissions), request: aRequest(), ...at, replyTo })
    },

    cancel(numbers: readonly number[]): void {
      const ids = numbers.filter((n) => n <= submissions).map(jobId)
      handle({ type: 'cancel', selection: { ids }, scope: 'everything', replyTo: createPlace('c') })
    },

    readOrder(which: number): void {
      const found = pick(
        gpusUp().filter(([machine, one]) => machine.way !== 'off' && one.inbox.length > 0),
        which,
      )
      if (found) readOrder(...found)
    },

    deliver(): void {
      const letter = mail.shift()
      if (letter) handle(letter.message)
    },

    loseLetter(which: number): void {
      const letter = pick(mail, which)
      if (!letter?.from) return
      mail.splice(mail.indexOf(letter), 1)
      reconnect(letter.from)
    },

    doubleLetter(which: number): void {
      const letter = pick(mail, which)
      if (letter) mail.push(letter)
    },

    progress(which: number): void {
      const generation = pick(
        [...generations.values()].filter(({ isOver }) => !isOver),
        which,
      )
      if (!generation) return
      generation.reading = {
        stage: 'denoising',
        step: (generation.reading?.step ?? 0) + 1,
        totalSteps: 1_000,
      }
      const { gpu, machine, reading, attempt } = generation
      tell(machine, { type: 'generationReported', gpu, reading, ...attempt })
    },

    endGeneration(which: number, code?: FailureCode): void {
      const busy = gpusUp().filter(([machine, one]) => machine.way !== 'off' && one.holding)
      const found = pick(busy, which)
      const failed = code && ({ how: 'failed', failure: aFailure(code) } as const)
      if (found) endOn(...found, failed ?? { how: 'completed' })
    },

    endConversion(which: number): void {
      const conversion = pick(
        [...conversions.values()].filter(({ machine }) => machine.way === 'up'),
        which,
      )
      if (!conversion) return
      const { attempt, aborted, machine } = conversion
      conversions.delete(keyOf(attempt))
      if (aborted) tell(machine, { type: 'conversionAborted', ...attempt })
      else tell(machine, { type: 'converted', video: aVideo(), ...attempt })
    },

    /** Its letters do not arrive any more. */
    goAway(which: number, way: 'cut' | 'off'): void {
      const machine = pick(
        others().filter((one) => one.way === 'up'),
        which,
      )
      if (!machine) return
      machine.way = way
      dropMailOf(machine)
      if (way === 'cut') return
      for (const [key, one] of conversions) if (one.machine === machine) conversions.delete(key)
      for (const one of generations.values()) if (one.machine === machine) one.isOver = true
      for (const one of machine.gpus)
        Object.assign(one, { holding: undefined, incarnation: one.incarnation + 1 })
    },

    /** Also late, or again. */
    countAsLost(which: number): void {
      const machine = pick(
        others().filter((one) => one.way !== 'up' && one.told !== 'removed'),
        which,
      )
      if (!machine) return
      machine.told = 'lost'
      handle(gone('nodeLost', machine))
    },

    leave(which: number): void {
      const machine = pick(
        others().filter((one) => one.way === 'off' && one.told === 'joined'),
        which,
      )
      if (!machine) return
      machine.told = 'left'
      handle(gone('nodeLeft', machine))
    },

    remove(which: number): void {
      const machine = pick(
        others().filter((one) => one.way === 'off' && one.told !== 'joined'),
        which,
      )
      if (!machine || machine.told === 'removed') return
      // It says how it is when it joins again.
      Object.assign(machine, { told: 'removed', isFull: false })
      handle({ type: 'removeNode', node: machine.name, replyTo: createPlace('operator') })
    },

    comeBack(which: number): void {
      const machine = pick(
        machines.filter((one) => one.way !== 'up'),
        which,
      )
      if (!machine) return
      const isKnown = machine.told === 'joined'
      Object.assign(machine, { way: 'up', told: 'joined' })
      handle(joinedNews(machine))
      if (isKnown) reconnect(machine)
      else tell(machine, { type: 'conversionReady', node: machine.name })
    },

    sayAgain: (which: number) => {
      const machine = machineAt(which)
      if (machine.way === 'up') handle(joinedNews(machine))
    },

    seeRoom(which: number, hasRoom: boolean): void {
      const machine = machineAt(which)
      if (machine.told !== 'joined') return
      machine.isFull = !hasRoom
      handle({ type: 'roomChecked', node: machine.name, hasRoom })
    },

    drain(which: number, type: 'drainNode' | 'resumeNode'): void {
      const { name: node, told } = machineAt(which)
      if (told !== 'removed') handle({ type, node, replyTo: createPlace('operator') })
    },

    /** The queue starts on another node. All that was on its way is lost. */
    changeTerm(which: number): void {
      const next = pick(
        machines.filter((one) => one.way === 'up'),
        which,
      )
      if (!next) return
      leader = next
      for (const machine of machines) {
        dropMailOf(machine)
        machine.isFull = false
      }
      state = start()
      for (const machine of machines) {
        if (machine.told === 'removed') continue
        if (machine.way !== 'up' && machine.told === 'lost') handle(gone('nodeLost', machine))
        else if (machine.told === 'left') handle(gone('nodeLeft', machine))
        else handle(joinedNews(machine))
        reconnect(machine)
      }
    },
  }

  return {
    let(happen: (may: typeof world) => void): void {
      happen(world)
      checkInvariants()
    },

    /** With every machine back and every letter delivered, each job ends and nothing is left at work. */
    settle(): void {
      for (const machine of machines) {
        if (machine.way !== 'up')
          world.comeBack(machines.filter((one) => one.way !== 'up').indexOf(machine))
      }
      for (const [index, machine] of machines.entries()) {
        world.seeRoom(index, true)
        world.drain(index, 'resumeNode')
        reconnect(machine)
      }
      for (let round = 0; !isSettled(); round++) {
        assert(round < 100 * (submissions + 2), 'every job comes to its end')
        while (mail.length > 0) world.deliver()
        for (const [machine, one] of gpusUp()) {
          while (one.inbox.length > 0) readOrder(machine, one)
          while (mail.length > 0) world.deliver()
        }
        for (const { environment, name } of state.nodes.values()) {
          if (environment.breaker.phase === 'closed') continue
          const { pauses: pause } = environment.breaker
          handle({ type: 'pauseEnded', node: name, pause })
          assert(holdBy(environment) === undefined || pause < 50)
        }
        world.progress(round)
        world.endGeneration(round)
        world.endConversion(round)
        checkInvariants()
      }
      const live = [...generations.values()].filter(({ isOver }) => !isOver)
      assert.equal(live.length, 0, 'no generation runs for nobody')
    },
  }

  function isSettled(): boolean {
    const isIdle = mail.length === 0 && gpusUp().every(([, one]) => one.inbox.length === 0)
    return isIdle && store.all().every(({ status }) => status !== 'queued' && status !== 'running')
  }
}

const joinedNews = ({ name: node, gpus, limit: maxConcurrentLoads }: Machine): QueueNews => ({
  ...{ type: 'nodeJoined', node, gpus: gpus.map(({ gpu }) => gpu), maxConcurrentLoads },
})

const gone = (type: 'nodeLeft' | 'nodeLost', { name: node, gpus }: Machine): QueueNews => ({
  ...{ type, node, gpus: gpus.map(({ gpu }) => gpu) },
})

const keyIn = ({ jobId, epoch }: AttemptKey): AttemptKey => ({ jobId, epoch })
const keyOf = ({ jobId, epoch }: AttemptKey): string => `${jobId}/${epoch}`
const isSame = (a: AttemptKey | undefined, b: AttemptKey): boolean =>
  a?.jobId === b.jobId && a.epoch === b.epoch
