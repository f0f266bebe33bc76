/** How a GPU looks from outside: as the supervisor, the queue and its own instruments see it. */
import * as v from 'valibot'
import { conditionOf, gpuConditions } from '../../actors/gpu/gpu-condition.ts'
import type { SeenGpu } from '../../actors/node/machines.ts'
import type { GpuReading } from '../../actors/node/node-protocol.ts'
import type { GpuUse } from '../../actors/queue/queue-protocol.ts'
import type { ChildView } from '../../actors/supervisor/supervisor-protocol.ts'
import { failureCodes, stages } from '../../domain/job.ts'
import { NodeNameJson } from './node-view.ts'
import { Count, StartKind, Time, Uuid } from './words.ts'

const GpuActorJson = v.object({
  state: v.picklist([
    'starting',
    'running',
    'stopping',
    'backoff',
    'given_up',
    'restarting',
    'terminated',
  ]),
  incarnation: v.pipe(Count, v.description('counts its lives')),
  restarts_in_period: Count,
  mailbox: v.pipe(Count, v.description('messages that it has not dealt with')),
  error: v.nullable(v.string()),
})

const MeasuredJson = v.object({
  memory_used_mib: v.number(),
  memory_total_mib: v.number(),
  utilization_percent: v.number(),
  temperature_c: v.number(),
})

export const GpuJson = v.object({
  id: v.pipe(Count, v.description('the `gpu_id` of jobs')),
  node: v.nullable(NodeNameJson),
  device: v.pipe(v.string(), v.description('what `CUDA_VISIBLE_DEVICES` is set to')),
  name: v.nullable(v.string()),
  uuid: v.nullable(v.string()),
  state: v.picklist(gpuConditions),
  job_id: v.nullable(Uuid),
  start: v.nullable(StartKind),
  stage: v.nullable(v.picklist(stages)),
  step: v.nullable(Count),
  loading_unusually_long: v.pipe(
    v.boolean(),
    v.description(
      'the load takes several times as long as usual; other GPUs no longer wait for it',
    ),
  ),
  quarantine: v.nullable(
    v.object({
      reason: v.picklist(['failures', 'unkillable']),
      since: Time,
      until: v.nullable(
        v.pipe(Time, v.description('when it gets a job to prove itself; null: when it is resumed')),
      ),
      strikes: Count,
    }),
  ),
  last_failures: v.array(v.object({ job_id: Uuid, code: v.picklist(failureCodes), at: Time })),
  actor: v.nullable(GpuActorJson),
  measured: v.pipe(
    v.nullable(MeasuredJson),
    v.description('null where nvidia-smi does not answer'),
  ),
})
export type GpuJson = v.InferOutput<typeof GpuJson>

export type GpuSight = SeenGpu & Readonly<{ use: GpuUse | undefined }>

export const gpuJson = ({ gpu, node, use, actor, reading }: GpuSight): GpuJson => ({
  id: gpu.id,
  node: node ?? null,
  device: gpu.device,
  name: gpu.name ?? null,
  uuid: gpu.uuid ?? null,
  state: conditionOf(use, actor),
  job_id: use?.jobId ?? null,
  start: use?.start ?? null,
  stage: use?.reading?.stage ?? null,
  step: use?.reading?.step ?? null,
  loading_unusually_long: use?.loadsUnusuallyLong ?? false,
  ...healthJson(use),
  actor: actor ? actorJson(actor) : null,
  measured: readingJson(reading),
})

function healthJson(use: GpuUse | undefined): Pick<GpuJson, 'quarantine' | 'last_failures'> {
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
