import type { AttemptKey, GpuId } from '../../domain/job.ts'
import { type ActorRef, actorOf, type Behaviour, tell, tellLater } from '../actor.ts'
import type { QueueMessage } from '../queue/queue-protocol.ts'
import {
  type CaretakerEffect,
  type CaretakerMessage,
  type CaretakerState,
  nameOf,
  startCaretaker,
  transition,
} from './caretaker-transition.ts'
import { observer, signed } from './gpu-actor.ts'
import type { AttemptOrder, GenerationHandle, GenerationRunner } from './gpu-ports.ts'
import type { GpuEffect } from './gpu-protocol.ts'

export type CaretakerOptions = Readonly<{
  runners: ReadonlyMap<GpuId, GenerationRunner>
  queue: ActorRef<QueueMessage>
  graceMs: number
  jobTimeoutMs: number
}>

/** Watches generations whose GPU has no actor, because it crashed too often, until they end. */
export function caretakerBehaviour({
  runners,
  queue,
  graceMs,
  jobTimeoutMs,
}: CaretakerOptions): Behaviour<CaretakerState, CaretakerMessage> {
  const handles = new Map<string, GenerationHandle>()

  return actorOf<CaretakerState, CaretakerMessage, CaretakerEffect>({
    initial: startCaretaker,
    transition,
    perform,
    terminate() {
      for (const handle of handles.values()) handle.detach()
    },
  })

  function perform(effect: CaretakerEffect, self: ActorRef<CaretakerMessage>): void {
    switch (effect.do) {
      case 'announce':
        tell(queue, { type: 'caretakerReady' })
        break
      case 'letGo':
        handles.get(nameOf(effect.attempt))?.detach()
        handles.delete(nameOf(effect.attempt))
        break
      case 'follow':
        follow(effect.gpu, effect.attempt, effect.effect, self)
        break
      default:
        effect satisfies never
    }
  }

  function follow(
    gpu: GpuId,
    attempt: AttemptKey,
    effect: GpuEffect,
    self: ActorRef<CaretakerMessage>,
  ): void {
    switch (effect.do) {
      case 'start':
      case 'adopt':
        adopt(gpu, effect.order, self)
        break
      case 'stop':
        handles.get(nameOf(attempt))?.stop(effect.reason, graceMs)
        break
      case 'limitTime': {
        const leftMs = jobTimeoutMs - effect.ageMs
        tellLater(self, leftMs, { type: 'timeLimitReached', ...attempt })
        break
      }
      case 'report': {
        const { report } = effect
        if (report.type === 'gpuReady') break
        if (report.type === 'generationEnded') handles.delete(nameOf(attempt))
        tell(queue, signed(report, gpu))
        break
      }
      default:
        effect satisfies never
    }
  }

  function adopt(gpu: GpuId, order: AttemptOrder, self: ActorRef<CaretakerMessage>): void {
    const handle = runners.get(gpu)?.adopt(order, observer(order, self))
    if (handle) handles.set(nameOf(order), handle)
  }
}
