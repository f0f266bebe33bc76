import { Hono } from 'hono'
import { type ActorRef, ask } from '../actors/actor.ts'
import type { QueueMessage } from '../actors/queue/queue-protocol.ts'
import type { SupervisorMessage } from '../actors/supervisor/supervisor-protocol.ts'
import type { GpuId } from '../job.ts'

export type GpuRoutesOptions = Readonly<{
  queue: ActorRef<QueueMessage>
  supervisor: ActorRef<SupervisorMessage>
  gpus: readonly Readonly<{ id: GpuId; device: string; name?: string; uuid?: string }>[]
  /** The supervisor's name for the actor of a GPU. */
  childOf(gpu: GpuId): string
}>

/** Each GPU as the supervisor, the queue and the machine see it. */
export const gpuRoutes = ({ queue, supervisor, gpus, childOf }: GpuRoutesOptions) =>
  new Hono().get('/gpus', async (c) => {
    const [uses, children] = await Promise.all([
      ask(queue, { type: 'describeGpus' }),
      ask(supervisor, { type: 'whichChildren' }),
    ])
    return c.json({
      gpus: gpus.map(({ id, device, name, uuid }) => {
        const use = uses.find(({ gpu }) => gpu === id)
        const actor = children.find((child) => child.id === childOf(id))
        return {
          id,
          device,
          name: name ?? null,
          uuid: uuid ?? null,
          state: use?.jobId ? 'busy' : use?.ready ? 'idle' : 'down',
          job_id: use?.jobId ?? null,
          stage: use?.reading?.stage ?? null,
          step: use?.reading?.step ?? null,
          actor: actor
            ? {
                state: actor.phase,
                incarnation: actor.incarnation,
                restarts_in_period: actor.restartsInPeriod,
                mailbox: actor.mailbox,
                error: actor.error ?? null,
              }
            : null,
        }
      }),
    })
  })
