/** What is read when somebody looks: asked of those who own it, and of each only for so long. */
import { type ActorRef, ask } from '../../actors/actor.ts'
import type { Machines, SeenGpu } from '../../actors/node/machines.ts'
import type {
  GpuUse,
  NodeUse,
  QueueMessage,
  QueueSummary,
} from '../../actors/queue/queue-protocol.ts'
import type { ChildView } from '../../actors/supervisor/supervisor-protocol.ts'
import type { Outbox } from '../../actors/webhook/webhook-ports.ts'
import type { WebhookMessage } from '../../actors/webhook/webhook-protocol.ts'
import type { GpuId } from '../../domain/job.ts'
import type { Member } from '../../domain/node.ts'
import type { NvidiaReading } from '../machine/nvidia-smi.ts'

/** A part that did not answer is absent. */
export type Figures = Readonly<{
  /** Only of the node that leads. */
  whole?: WholeFigures
  children?: readonly ChildView[]
  readings: ReadonlyMap<GpuId, NvidiaReading>
  checks: readonly Readonly<{ name: string; ok: boolean }>[]
}>

/** Of the queue and everything else that there is only once. */
export type WholeFigures = Readonly<{
  queue?: QueueSummary
  gpus?: readonly Readonly<{ use: GpuUse | undefined; seen: SeenGpu }>[]
  nodes?: readonly NodeUse[]
  members: readonly Member[]
  outbox?: Outbox
  databaseBytes?: number
}>

export type WholeSources = Readonly<{
  queue: ActorRef<QueueMessage>
  machines: Machines
  webhooks: ActorRef<WebhookMessage>
  members(): readonly Member[]
  databaseBytes(): Promise<number>
}>

export type FigureSources = Readonly<{
  whole?: WholeSources
  children(): Promise<readonly ChildView[]>
  measured(): Figures['readings']
  checks(): Figures['checks']
}>

/** Shorter than any scrape's own: one part that hangs is missing, and all others are there. */
const patienceMs = 1_000

export async function readFigures({
  whole,
  children,
  measured,
  checks,
}: FigureSources): Promise<Figures> {
  const [figures, living] = await Promise.all([whole && readWhole(whole), children().catch(absent)])
  return {
    ...(figures && { whole: figures }),
    ...(living && { children: living }),
    readings: measured(),
    checks: checks(),
  }
}

async function readWhole({
  queue,
  machines,
  webhooks,
  members,
  databaseBytes,
}: WholeSources): Promise<WholeFigures> {
  const [queueNow, uses, nodes, seen, outbox, bytes] = await Promise.all([
    ask(queue, { type: 'describeQueue' }, patienceMs).catch(absent),
    ask(queue, { type: 'describeGpus' }, patienceMs).catch(absent),
    ask(queue, { type: 'describeNodes' }, patienceMs).catch(absent),
    machines.look(patienceMs),
    ask(webhooks, { type: 'describeOutbox' }, patienceMs).catch(absent),
    databaseBytes().catch(absent),
  ])
  const useOf = new Map(uses?.map((use) => [use.gpu, use]))
  return {
    ...(queueNow && { queue: queueNow }),
    ...(uses && { gpus: seen.map((one) => ({ seen: one, use: useOf.get(one.gpu.id) })) }),
    ...(nodes && { nodes }),
    members: members(),
    ...(outbox && { outbox }),
    ...(bytes !== undefined && { databaseBytes: bytes }),
  }
}

const absent = (): undefined => undefined
