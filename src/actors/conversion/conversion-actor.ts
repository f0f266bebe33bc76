import type { AttemptKey } from '../../domain/job.ts'
import type { WanTask } from '../../domain/wan-tasks.ts'
import { type ActorRef, type Behaviour, tell } from '../actor.ts'
import type { QueueMessage } from '../queue/queue-protocol.ts'
import type { VideoTools } from './conversion-ports.ts'
import type {
  ConversionEffect,
  ConversionMessage,
  ConversionNews,
  ConversionState,
} from './conversion-protocol.ts'
import { transition } from './conversion-transition.ts'

export type ConversionActorOptions = Readonly<{
  task: WanTask
  tools: VideoTools
  queue: ActorRef<QueueMessage>
  /** How many conversions may run at once. */
  limit: number
}>

/** Owns ffmpeg work: checks what generations leave and makes it the file that is served. */
export function conversionBehaviour({
  task,
  tools,
  queue,
  limit,
}: ConversionActorOptions): Behaviour<ConversionState, ConversionMessage> {
  const encoding = new Map<string, AbortController>()

  return {
    init(self) {
      tell(self, { type: 'announce' })
      return { active: [], limit }
    },

    receive(state, message, self) {
      const [next, effects] = transition(task, state, message)
      for (const effect of effects) perform(effect, self)
      return next
    },

    // The queue asks the next incarnation for the same conversions again.
    terminate() {
      for (const controller of encoding.values()) controller.abort()
    },
  }

  function perform(effect: ConversionEffect, self: ActorRef<ConversionMessage>): void {
    switch (effect.do) {
      case 'inspect': {
        const { conversion } = effect
        follow(conversion, self, async () => ({
          type: 'inspected',
          source: await tools.inspect(conversion),
        }))
        break
      }
      case 'encode': {
        const { conversion, source } = effect
        const controller = new AbortController()
        encoding.set(keyOf(conversion), controller)
        follow(conversion, self, async () => ({
          type: 'encoded',
          video: await tools
            .encode(conversion, source, controller.signal)
            .finally(() => encoding.delete(keyOf(conversion))),
        }))
        break
      }
      case 'publish': {
        const { conversion } = effect
        follow(conversion, self, async () => {
          await tools.publish(conversion)
          return { type: 'published' }
        })
        break
      }
      case 'interrupt':
        encoding.get(keyOf(effect.attempt))?.abort()
        break
      case 'discard':
        // What is left over is removed at the next start at the latest.
        void tools.discard(effect.attempt).catch(() => {})
        break
      case 'withdraw':
        void tools.withdraw(effect.conversion).catch(() => {})
        break
      case 'report':
        tell(queue, effect.report)
        break
      default:
        effect satisfies never
    }
  }
}

type StepNews = ConversionNews extends infer News
  ? News extends AttemptKey
    ? Omit<News, keyof AttemptKey>
    : never
  : never

/** What takes long is started, and its end comes back as news. */
function follow(
  { jobId, epoch }: AttemptKey,
  self: ActorRef<ConversionMessage>,
  step: () => Promise<StepNews>,
): void {
  void step().then(
    (news) => tell(self, { ...news, jobId, epoch } as ConversionNews),
    (error: unknown) => {
      const why = error instanceof Error ? error.message : String(error)
      const killed = (error as { how?: string } | null)?.how === 'killed'
      tell(self, { type: 'stepFailed', jobId, epoch, why, killed })
    },
  )
}

const keyOf = ({ jobId, epoch }: AttemptKey): string => `${jobId}/${epoch}`
