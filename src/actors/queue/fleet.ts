/** The actors on the machines, as the queue reaches them. */
import type { GpuId } from '../../domain/job.ts'
import type { NodeName } from '../../domain/node.ts'
import type { ActorRef } from '../actor.ts'
import type { ConversionMessage } from '../conversion/conversion-protocol.ts'
import type { CaretakerMessage } from '../gpu/caretaker-transition.ts'
import type { GpuMessage } from '../gpu/gpu-protocol.ts'
import type { NodeCommand } from '../node/node-protocol.ts'
import type { TemplateMessage } from '../template/template-protocol.ts'

export type NodeActors = Readonly<{
  node: ActorRef<NodeCommand>
  conversion: ActorRef<ConversionMessage>
  caretaker: ActorRef<CaretakerMessage>
  template: ActorRef<TemplateMessage>
  gpu(gpu: GpuId): ActorRef<GpuMessage> | undefined
}>

export type Fleet = Readonly<{
  /** Undefined: the node is not there. It announces itself when it is. */
  at(node: NodeName): NodeActors | undefined
  /** The node that has this GPU, whether it is there or not. */
  nodeOf(gpu: GpuId): NodeName | undefined
  /** All nodes that are there. */
  present(): Iterable<NodeActors>
  /** The queue was loaded: it knows of no node but the first. */
  queueRestored(): void
}>
