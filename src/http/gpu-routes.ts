import { Hono } from 'hono'
import { type ActorRef, ask } from '../actors/actor.ts'
import type { GpuUse, QueueMessage } from '../actors/queue/queue-protocol.ts'
import type { ChildView, SupervisorMessage } from '../actors/supervisor/supervisor-protocol.ts'
import { RefusalError } from '../errors.ts'
import type { GpuId } from '../job.ts'
import type { ClientEnv } from './access.ts'
import { orThrow, parse, readJsonIfAny } from './edge.ts'
import { GpuParam, RestartBody } from './schemas.ts'

export type GpuRoutesOptions = Readonly<{
  queue: ActorRef<QueueMessage>
  supervisor: ActorRef<SupervisorMessage>
  gpus: readonly Readonly<{ id: GpuId; device: string; name?: string; uuid?: string }>[]
  /** The supervisor's name for the actor of a GPU. */
  childOf(gpu: GpuId): string
  /** The latest reading of each GPU's own instruments; empty when nvidia-smi does not answer. */
  measured(): ReadonlyMap<GpuId, GpuReading>
}>

export type GpuReading = Readonly<{
  memoryUsedMiB: number
  memoryTotalMiB: number
  utilizationPercent: number
  temperatureC: number
}>

/** Each GPU as the supervisor, the queue and the machine see it; and an operator's word about one. */
export function gpuRoutes({ queue, supervisor, gpus, childOf, measured }: GpuRoutesOptions) {
  const view = async () => {
    const [uses, children] = await Promise.all([
      ask(queue, { type: 'describeGpus' }),
      ask(supervisor, { type: 'whichChildren' }),
    ])
    const readings = measured()
    return gpus.map(({ id, device, name, uuid }) => {
      const use = uses.find(({ gpu }) => gpu === id)
      const actor = children.find((child) => child.id === childOf(id))
      return {
        id,
        device,
        name: name ?? null,
        uuid: uuid ?? null,
        state: stateOf(use, actor),
        job_id: use?.jobId ?? null,
        stage: use?.reading?.stage ?? null,
        step: use?.reading?.step ?? null,
        ...healthJson(use),
        actor: actor ? actorJson(actor) : null,
        measured: readingJson(readings.get(id)),
      }
    })
  }
  const viewOf = async (gpu: GpuId) => (await view()).find(({ id }) => id === gpu)

  return new Hono<ClientEnv>()
    .get('/gpus', async (c) => c.json({ gpus: await view() }))

    .post('/gpus/:id/drain', async (c) => {
      const gpu = parse(GpuParam, c.req.param('id'))
      orThrow(await ask(queue, { type: 'drainGpu', gpu }))
      return c.json(await viewOf(gpu))
    })

    .post('/gpus/:id/resume', async (c) => {
      const gpu = parse(GpuParam, c.req.param('id'))
      orThrow(await ask(queue, { type: 'resumeGpu', gpu }))
      return c.json(await viewOf(gpu))
    })

    .post('/gpus/:id/restart', async (c) => {
      const gpu = parse(GpuParam, c.req.param('id'))
      const { job } = parse(RestartBody, await readJsonIfAny(c))
      if (job !== 'adopt') {
        const fate = job === 'requeue' ? 'giveBack' : 'fail'
        orThrow(await ask(queue, { type: 'disown', gpu, fate }))
      }
      const answer = await ask(supervisor, { type: 'restartChild', id: childOf(gpu) })
      if (answer === 'no_such_child') {
        throw new RefusalError(
          'gpu_not_found',
          `This service has no GPU ${gpu}; GET /gpus lists them.`,
        )
      }
      if (answer === 'shutting_down')
        throw new RefusalError('shutting_down', 'The service is stopping.')
      return c.json(await viewOf(gpu), 202)
    })
}

/** One word for what an operator looks for first. */
function stateOf(use: GpuUse | undefined, actor: ChildView | undefined) {
  if (actor?.phase === 'given_up') return 'given_up'
  if (!use?.ready) return 'down'
  const { drained, quarantine } = use.health
  if (quarantine && !quarantine.probing) return 'quarantined'
  if (drained) return use.jobId ? 'draining' : 'drained'
  if (quarantine) return 'probing'
  return use.jobId ? 'busy' : 'idle'
}

function healthJson(use: GpuUse | undefined) {
  const quarantine = use?.health.quarantine
  return {
    quarantine: quarantine
      ? {
          reason: quarantine.reason,
          since: new Date(quarantine.since).toISOString(),
          until: quarantine.until === undefined ? null : new Date(quarantine.until).toISOString(),
          strikes: quarantine.strikes,
        }
      : null,
    last_failures: (use?.health.failures ?? []).map(({ jobId, code, at }) => ({
      job_id: jobId,
      code,
      at: new Date(at).toISOString(),
    })),
  }
}

const actorJson = ({ phase, incarnation, restartsInPeriod, mailbox, error }: ChildView) => ({
  state: phase,
  incarnation,
  restarts_in_period: restartsInPeriod,
  mailbox,
  error: error ?? null,
})

const readingJson = (reading: GpuReading | undefined) =>
  reading
    ? {
        memory_used_mib: reading.memoryUsedMiB,
        memory_total_mib: reading.memoryTotalMiB,
        utilization_percent: reading.utilizationPercent,
        temperature_c: reading.temperatureC,
      }
    : null
