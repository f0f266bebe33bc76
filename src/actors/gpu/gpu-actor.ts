import type { GpuId } from '../../domain/job.ts'
import { type ActorRef, actorOf, type Behaviour, tell, tellLater } from '../actor.ts'
import type { QueueMessage, QueueNews } from '../queue/queue-protocol.ts'
import type {
  AttemptOrder,
  GenerationHandle,
  GenerationObserver,
  GenerationRunner,
} from './gpu-ports.ts'
import type { GpuEffect, GpuMessage, GpuNews, GpuReport, GpuState } from './gpu-protocol.ts'
import { idle, transition } from './gpu-transition.ts'

export type GpuActorOptions = Readonly<{
  gpu: GpuId
  runner: GenerationRunner
  queue: ActorRef<QueueMessage>
  graceMs: number
  jobTimeoutMs: number
}>

/** Owns one GPU: at most one generation on it, which outlives this actor and is adopted by the next. */
export function gpuBehaviour({
  gpu,
  runner,
  queue,
  graceMs,
  jobTimeoutMs,
}: GpuActorOptions): Behaviour<GpuState, GpuMessage> {
  let generation: GenerationHandle | undefined

  return actorOf({
    initial: transition(idle, { type: 'announce' }),
    transition,
    perform,
    terminate: () => generation?.detach(),
  })

  function perform(effect: GpuEffect, self: ActorRef<GpuMessage>): void {
    switch (effect.do) {
      case 'start':
        generation = runner.start(effect.order, observer(effect.order, self))
        break
      case 'adopt':
        generation = runner.adopt(effect.order, observer(effect.order, self))
        break
      case 'stop':
        generation?.stop(effect.reason, graceMs)
        break
      case 'limitTime': {
        const { attempt, ageMs } = effect
        tellLater(self, jobTimeoutMs - ageMs, { type: 'timeLimitReached', ...attempt })
        break
      }
      case 'report': {
        const { report } = effect
        if (report.type === 'gpuReady') tell(queue, { ...report, gpu, incarnation: self.name })
        else tell(queue, signed(report, gpu))
        break
      }
      default:
        effect satisfies never
    }
  }
}

/** The queue has a generation stopped on the GPU that signs news of it, if nobody waits for it. */
export const signed = (report: Exclude<GpuReport, { type: 'gpuReady' }>, gpu: GpuId): QueueNews =>
  report.type === 'generationEnded' || report.type === 'runDeclined' ? report : { ...report, gpu }

/** Tells an actor what becomes of a generation. */
export const observer = (
  { jobId, epoch }: AttemptOrder,
  self: ActorRef<GpuNews>,
): GenerationObserver => ({
  started: (startedAt, ageMs, command, start) =>
    tell(self, {
      type: 'generationStarted',
      jobId,
      epoch,
      startedAt,
      ageMs,
      ...(command && { command }),
      ...(start && { start }),
    }),
  reported: (reading) => tell(self, { type: 'generationReported', jobId, epoch, reading }),
  ended: (result) => tell(self, { type: 'generationEnded', jobId, epoch, result }),
})
