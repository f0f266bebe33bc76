import type { Logger } from '../../domain/log.ts'
import type { Observe } from '../../domain/observation.ts'
import { type ActorRef, actorOf, type Behaviour, tell, tellLater } from '../actor.ts'
import type { QueueMessage } from '../queue/queue-protocol.ts'
import type { TemplatePort } from './template-ports.ts'
import type {
  TemplateEffect,
  TemplateEvent,
  TemplateMessage,
  TemplateState,
} from './template-protocol.ts'
import { begin, type TemplateSettings, transition } from './template-transition.ts'

export type TemplateActorOptions = Readonly<{
  settings: TemplateSettings
  port: TemplatePort
  /** Gives turns to load. */
  queue: ActorRef<QueueMessage>
  observe: Observe
  log: Logger
}>

/** Owns the process that generations are forked from. No generation waits for it. */
export function templateBehaviour({
  settings,
  port,
  queue,
  observe,
  log,
}: TemplateActorOptions): Behaviour<TemplateState, TemplateMessage> {
  return actorOf<TemplateState, TemplateMessage, TemplateEffect>({
    initial: begin(settings),
    transition,
    perform,
    terminate: () => port.end(),
  })

  function perform(
    effect: Exclude<TemplateEffect, { do: 'answer' | 'answerFailed' }>,
    self: ActorRef<TemplateMessage>,
  ): void {
    const report = (event: TemplateEvent) => tell(self, event)
    switch (effect.do) {
      case 'askTurn':
        tell(queue, { type: 'templateWaits', build: effect.build })
        break
      case 'endTurn':
        tell(queue, { type: 'templateSettled', build: effect.build })
        break
      case 'build':
        port.build(effect.build, report)
        break
      case 'probe':
        port.probe(effect.build, report)
        break
      case 'use':
        port.use()
        break
      case 'end':
        port.end()
        break
      case 'expect':
        tellLater(self, effect.afterMs, effect.event)
        break
      case 'checkMemory':
        if (port.isMemoryShort()) tell(self, { type: 'memoryShort', build: effect.build })
        break
      case 'observe':
        observe(effect.observation)
        break
      case 'log':
        log[effect.level](effect.fields, effect.phrase)
        break
      default:
        effect satisfies never
    }
  }
}
