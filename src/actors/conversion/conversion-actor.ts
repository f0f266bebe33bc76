import { environmentFaultOf } from '../../domain/failures.ts'
import type { AttemptKey } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import type { WanTask } from '../../domain/wan-tasks.ts'
import { type ActorRef, actorOf, type Behaviour, pipe, tell, tellLater } from '../actor.ts'
import type { QueueMessage } from '../queue/queue-protocol.ts'
import type { Conversion, VideoTools } from './conversion-ports.ts'
import type { ConversionEffect, ConversionMessage, ConversionState } from './conversion-protocol.ts'
import { startConverter, transition } from './conversion-transition.ts'

export type ConversionActorOptions = Readonly<{
  task: WanTask
  tools: VideoTools
  queue: ActorRef<QueueMessage>
  /** How many conversions may run at once. */
  limit: number
  log: Logger
}>

/** Owns ffmpeg work: checks what generations leave and makes it the file that is served. */
export function conversionBehaviour({
  task,
  tools,
  queue,
  limit,
  log,
}: ConversionActorOptions): Behaviour<ConversionState, ConversionMessage> {
  const interruptible = new Map<string, AbortController>()

  return actorOf<ConversionState, ConversionMessage, ConversionEffect>({
    initial: startConverter(limit),
    transition: (state, message) => transition(task, state, message),
    perform,
    // The queue asks the next incarnation for the same conversions again.
    terminate() {
      for (const controller of interruptible.values()) controller.abort()
    },
  })

  function perform(effect: ConversionEffect, self: ActorRef<ConversionMessage>): void {
    switch (effect.do) {
      case 'inspect': {
        const { conversion } = effect
        pipe(
          self,
          tools.inspect(conversion),
          (source) => ({ type: 'inspected', ...keyOf(conversion), source }),
          (error) => stepFailed(conversion, error),
        )
        break
      }
      case 'encode': {
        const { conversion, source } = effect
        pipe(
          self,
          interruptibly(conversion, (signal) => tools.encode(conversion, source, signal)),
          (video) => ({ type: 'encoded', ...keyOf(conversion), video }),
          (error) => stepFailed(conversion, error),
        )
        break
      }
      case 'publish': {
        const { conversion } = effect
        pipe(
          self,
          interruptibly(conversion, (signal) => tools.publish(conversion, signal)),
          () => ({ type: 'published', ...keyOf(conversion) }),
          (error) => stepFailed(conversion, error),
        )
        break
      }
      case 'retryLater':
        tellLater(self, effect.afterMs, { type: 'retryDue', ...keyOf(effect.attempt) })
        break
      case 'logFault':
        log.warn(
          { ...keyOf(effect.attempt), reason: effect.why },
          'the environment fails a conversion; it is tried again until it succeeds',
        )
        break
      case 'interrupt':
        interruptible.get(nameOf(effect.attempt))?.abort()
        break
      case 'withdraw': {
        // Of a failure nobody can do anything; the next start of the service removes unfinished files.
        const withdrawn = () => ({ type: 'withdrawn', ...keyOf(effect.output) }) as const
        pipe(self, tools.withdraw(effect.output), withdrawn, withdrawn)
        break
      }
      case 'report':
        tell(queue, effect.report)
        break
      default:
        effect satisfies never
    }
  }

  async function interruptibly<Result>(
    conversion: Conversion,
    work: (signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    const controller = new AbortController()
    interruptible.set(nameOf(conversion), controller)
    try {
      return await work(controller.signal)
    } finally {
      interruptible.delete(nameOf(conversion))
    }
  }
}

function stepFailed(conversion: AttemptKey, error: unknown) {
  const why = error instanceof Error ? error.message : String(error)
  const { how, end } = (error ?? {}) as { how?: string; end?: { how?: string } }
  // A tool that is missing may be installed again, or its disk be mounted again.
  const fault =
    environmentFaultOf(error) ?? (end?.how === 'cannotStart' ? 'environment_broken' : undefined)
  const cause = { why, killed: how === 'killed', ...(fault && { fault }) }
  return { type: 'stepFailed', ...keyOf(conversion), ...cause } as const
}

const keyOf = ({ jobId, epoch }: AttemptKey): AttemptKey => ({ jobId, epoch })

const nameOf = ({ jobId, epoch }: AttemptKey): string => `${jobId}/${epoch}`
