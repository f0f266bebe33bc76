import type { GpuId } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import {
  type ActorRef,
  type AnswerEffect,
  actorOf,
  ask,
  type Behaviour,
  pipe,
  pipeAnswer,
  tellLater,
} from '../actor.ts'
import type { ChildView, SupervisorMessage } from '../supervisor/supervisor-protocol.ts'
import type { Machine } from './node-ports.ts'
import type {
  NodeDescription,
  NodeEffect,
  NodeMessage,
  NodeState,
  NodeWork,
} from './node-protocol.ts'
import { startNode, transition } from './node-transition.ts'

const lookAgainMs = 1_000

export type NodeActorOptions = Readonly<{
  machine: Machine
  /** Of the actors on this machine. */
  supervisor: ActorRef<SupervisorMessage>
  log: Logger
}>

/** Stands for a machine: the leader's queue and archive reach its files and its other actors through it. */
export function nodeBehaviour({
  machine,
  supervisor,
  log,
}: NodeActorOptions): Behaviour<NodeState, NodeMessage> {
  const { videoFiles, jobFiles, housekeeping, installation } = machine

  return actorOf<NodeState, NodeMessage, NodeEffect>({ initial: startNode, transition, perform })

  function perform(effect: Exclude<NodeEffect, AnswerEffect>, self: ActorRef<NodeMessage>): void {
    switch (effect.do) {
      case 'noteWelcome':
        machine.noteWelcome()
        break
      case 'endUnwatched':
        pipe(
          self,
          machine.endUnwatched(),
          (unkillable) => ({ type: 'lookEnded', unkillable }),
          (error) => ({ type: 'lookFailed', error }),
        )
        break
      case 'lookLater':
        tellLater(self, lookAgainMs, { type: 'lookDue' })
        break
      case 'announce':
        machine.announce(effect.unkillable)
        break
      case 'logFailure':
        log.warn({ err: effect.error }, 'processes that nobody watches could not be looked for')
        break
      case 'work':
        carryOut(effect.work, self)
        break
      default:
        effect satisfies never
    }
  }

  function carryOut(work: NodeWork, self: ActorRef<NodeMessage>): void {
    const done = (what: Promise<void>) => pipe(self, what, nothing, logFailure)
    switch (work.type) {
      case 'discardWork':
        done(jobFiles.discard(work.jobId))
        break
      case 'forgetJob':
        done(jobFiles.forget(work.jobId))
        break
      case 'removeLeftOvers':
        done(housekeeping.removeLeftOvers(work.before))
        break
      case 'lookAgain':
        installation.lookAgain()
        break
      case 'restartGpu': {
        const { gpu, requestId, replyTo } = work
        const restart = { type: 'restartChild', id: machine.childOf(gpu) } as const
        const asked = ask(supervisor, { ...restart, ...(requestId && { requestId }) })
        pipeAnswer(replyTo, asked, 'the supervisor did not restart it')
        break
      }
      case 'removeVideo':
        pipeAnswer(work.replyTo, videoFiles.remove(work.video), 'the file could not be removed')
        break
      case 'findVideo':
        pipeAnswer(work.replyTo, videoFiles.find(work.video), 'the file could not be read')
        break
      case 'findPresent':
        pipeAnswer(work.replyTo, videoFiles.arePresent(work.files), 'files could not be looked for')
        break
      case 'describeNode':
        pipeAnswer(work.replyTo, describe(), 'the supervisor did not answer')
        break
      default:
        work satisfies never
    }
  }

  async function describe(): Promise<NodeDescription> {
    const children = await ask(supervisor, { type: 'whichChildren' })
    const actorOf = (gpu: GpuId): [GpuId, ChildView][] => {
      const found = children.find(({ id }) => id === machine.childOf(gpu))
      return found ? [[gpu, found]] : []
    }
    return { actors: new Map(machine.gpus.flatMap(actorOf)), readings: machine.measured() }
  }

  function logFailure(error: unknown): undefined {
    log.warn({ err: error }, 'files of a job could not be removed')
  }
}

const nothing = () => undefined
