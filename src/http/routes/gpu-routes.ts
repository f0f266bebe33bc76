import { Hono } from 'hono'
import * as v from 'valibot'
import { type ActorRef, ask } from '../../actors/actor.ts'
import type { Machines } from '../../actors/node/machines.ts'
import type { QueueMessage } from '../../actors/queue/queue-protocol.ts'
import { RefusalError } from '../../domain/errors.ts'
import type { GpuId } from '../../domain/job.ts'
import { RestartBody } from '../request/bodies.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { GpuParam } from '../request/parameters.ts'
import { route } from '../request/route.ts'
import { found, orThrow } from '../response/outcome.ts'
import { GpuJson, gpuJson } from '../views/gpu-view.ts'

export type GpuRoutesOptions = Readonly<{
  queue: ActorRef<QueueMessage>
  machines: Machines
}>

const GpusJson = v.object({ gpus: v.array(GpuJson) })

const ofOneGpu = { tag: 'gpus', params: v.object({ id: GpuParam }) } as const

/** Each GPU as it is now; and an operator's word about one. */
export function gpuRoutes({ queue, machines }: GpuRoutesOptions) {
  const view = async (): Promise<GpuJson[]> => {
    const [uses, seen] = await Promise.all([ask(queue, { type: 'describeGpus' }), machines.look()])
    const useOf = new Map(uses.map((use) => [use.gpu, use]))
    return seen.map((one) => gpuJson({ ...one, use: useOf.get(one.gpu.id) }))
  }
  const viewOf = async (gpu: GpuId): Promise<GpuJson> =>
    found(
      (await view()).find(({ id }) => id === gpu),
      () => noGpu(gpu),
    )

  return new Hono<ClientEnv>()
    .get(
      '/gpus',
      route({
        id: 'listGpus',
        access: 'admin',
        tag: 'gpus',
        summary: 'Every GPU with what it does and how it is',
        answers: { 200: { means: 'All GPUs', json: GpusJson } },
      }),
      async (c) => c.json({ gpus: await view() }, 200),
    )

    .post(
      '/gpus/:id/drain',
      route({
        ...ofOneGpu,
        id: 'drainGpu',
        access: 'admin',
        summary: 'Let a GPU end what it runs and take nothing new',
        details: 'Holds over a restart of the service. Repeating it is harmless.',
        answers: { 200: { means: 'The GPU as it is now', json: GpuJson } },
        refusals: ['gpu_not_found'],
      }),
      async (c) => {
        const { id: gpu } = c.req.valid('param')
        const { requestId } = c.var
        orThrow(await ask(queue, { type: 'drainGpu', gpu, requestId }))
        return c.json(await viewOf(gpu), 200)
      },
    )

    .post(
      '/gpus/:id/resume',
      route({
        ...ofOneGpu,
        id: 'resumeGpu',
        access: 'admin',
        summary: 'Let a GPU take jobs again, drained or in quarantine',
        answers: { 200: { means: 'The GPU as it is now', json: GpuJson } },
        refusals: ['gpu_not_found'],
      }),
      async (c) => {
        const { id: gpu } = c.req.valid('param')
        const { requestId } = c.var
        orThrow(await ask(queue, { type: 'resumeGpu', gpu, requestId }))
        return c.json(await viewOf(gpu), 200)
      },
    )

    .post(
      '/gpus/:id/restart',
      route({
        ...ofOneGpu,
        id: 'restartGpu',
        access: 'admin',
        summary: 'Restart the actor of a GPU',
        json: v.optional(RestartBody, {}),
        answers: { 202: { means: 'The GPU as it is now', json: GpuJson } },
        refusals: ['gpu_not_found', 'shutting_down'],
      }),
      async (c) => {
        const { id: gpu } = c.req.valid('param')
        const { job } = c.req.valid('json')
        if (job !== 'adopt') {
          const fate = job === 'requeue' ? 'giveBack' : 'fail'
          orThrow(await ask(queue, { type: 'disown', gpu, fate }))
        }
        const { requestId } = c.var
        const answer = await machines.restart(gpu, { requestId })
        if (answer === 'no_such_child') throw noGpu(gpu)
        if (answer === 'shutting_down') {
          throw new RefusalError('shutting_down', 'The service is stopping.')
        }
        return c.json(await viewOf(gpu), 202)
      },
    )
}

const noGpu = (gpu: GpuId) =>
  new RefusalError('gpu_not_found', `This service has no GPU ${gpu}; GET /gpus lists them.`)
