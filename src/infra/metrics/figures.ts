/** What is read when somebody looks: asked of those who own it, and of each only for so long. */
import { type ActorRef, ask } from '../../actors/actor.ts'
import type {
  GpuUse,
  NodeUse,
  QueueMessage,
  QueueSummary,
} from '../../actors/queue/queue-protocol.ts'
import type { ChildView, SupervisorMessage } from '../../actors/supervisor/supervisor-protocol.ts'
import type { Outbox } from '../../actors/webhook/webhook-ports.ts'
import type { WebhookMessage } from '../../actors/webhook/webhook-protocol.ts'
import type { GpuId } from '../../domain/job.ts'
import type { Member } from '../../domain/node.ts'
import type { NvidiaReading } from '../machine/nvidia-smi.ts'

/** A part that did not answer is absent. */
export type Figures = Readonly<{
  queue?: QueueSummary
  gpus?: readonly GpuUse[]
  nodes?: readonly NodeUse[]
  members: readonly Member[]
  /** This service runs the queue. */
  leads: boolean
  children?: readonly ChildView[]
  outbox?: Outbox
  databaseBytes?: number
  readings: ReadonlyMap<GpuId, NvidiaReading>
  checks: readonly Readonly<{ name: string; ok: boolean }>[]
}>

export type FigureSources = Readonly<{
  queue: ActorRef<QueueMessage>
  supervisor: ActorRef<SupervisorMessage>
  webhooks: ActorRef<WebhookMessage>
  members(): readonly Member[]
  leads(): boolean
  databaseBytes(): Promise<number>
  measured(): Figures['readings']
  checks(): Figures['checks']
}>

/** Shorter than any scrape's own: one part that hangs is missing, and all others are there. */
const patienceMs = 1_000

export async function readFigures({
  queue,
  supervisor,
  webhooks,
  members,
  leads,
  databaseBytes,
  measured,
  checks,
}: FigureSources): Promise<Figures> {
  const [queueNow, gpus, nodes, children, outbox, bytes] = await Promise.all([
    ask(queue, { type: 'describeQueue' }, patienceMs).catch(absent),
    ask(queue, { type: 'describeGpus' }, patienceMs).catch(absent),
    ask(queue, { type: 'describeNodes' }, patienceMs).catch(absent),
    ask(supervisor, { type: 'whichChildren' }, patienceMs).catch(absent),
    ask(webhooks, { type: 'describeOutbox' }, patienceMs).catch(absent),
    databaseBytes().catch(absent),
  ])
  return {
    ...(queueNow && { queue: queueNow }),
    ...(gpus && { gpus }),
    ...(nodes && { nodes }),
    members: members(),
    leads: leads(),
    ...(children && { children }),
    ...(outbox && { outbox }),
    ...(bytes !== undefined && { databaseBytes: bytes }),
    readings: measured(),
    checks: checks(),
  }
}

const absent = (): undefined => undefined
