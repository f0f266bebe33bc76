import type { Gauge } from 'prom-client'
import { conditionOf, gpuConditions } from '../../actors/gpu/gpu-condition.ts'
import type { Timestamp } from '../../domain/job.ts'
import { nodeStates } from '../../domain/node.ts'
import { wallNow } from '../../domain/time.ts'
import type { Catalogue } from './catalogue.ts'
import type { Figures } from './figures.ts'

/** Sets each gauge to what was read just now; what nobody answered for is absent, not as it was. */
export function setGauges(known: Catalogue, { whole, children, ...rest }: Figures): void {
  const { queue, gpus, nodes, members = [], outbox, databaseBytes } = whole ?? {}
  const parts = {
    supervisor: children,
    ...(whole && { queue: queue && gpus && nodes, webhooks: outbox, database: databaseBytes }),
  }
  for (const [part, figures] of Object.entries(parts))
    known.scrapeSuccess.set({ part }, figures === undefined ? 0 : 1)

  forget(known.jobs, known.queueOldest, known.queueOpen, known.queueHasRoom, known.queueHeld)
  if (queue) {
    known.jobs.set({ status: 'queued' }, queue.waiting)
    known.jobs.set({ status: 'running' }, queue.running)
    const { oldestAt } = queue
    known.queueOldest.set(oldestAt === undefined ? 0 : ageSeconds(oldestAt))
    known.queueOpen.set(Number(queue.open))
    known.queueHasRoom.set(Number(queue.hasRoom))
    for (const reason of ['disk', 'environment'] as const)
      known.queueHeld.set({ reason }, Number(queue.hold?.reason === reason))
  }

  forget(known.gpuState, known.gpuSlowLoad)
  if (gpus) {
    for (const { use, seen } of gpus) {
      const gpu = seen.gpu.id
      const condition = conditionOf(use, seen.actor)
      known.gpuSlowLoad.set({ gpu }, Number(use?.loadsUnusuallyLong ?? false))
      for (const state of gpuConditions)
        known.gpuState.set({ gpu, state }, Number(state === condition))
    }
  }

  known.leader.set(Number(whole !== undefined))
  forget(known.nodeState, known.nodeHasRoom, known.gpuNode)
  for (const { name: node, state: current } of members) {
    for (const state of nodeStates) known.nodeState.set({ node, state }, Number(state === current))
  }
  for (const { name: node, gpus: own, hasRoom } of nodes ?? []) {
    known.nodeHasRoom.set({ node }, Number(hasRoom))
    for (const gpu of own) known.gpuNode.set({ gpu, node }, 1)
  }

  forget(known.actorUp, known.actorRestarts, known.actorMailbox)
  for (const { id: actor, phase, incarnation, mailbox } of children ?? []) {
    known.actorUp.set({ actor }, Number(phase === 'running'))
    known.actorRestarts.inc({ actor }, Math.max(0, incarnation - 1))
    known.actorMailbox.set({ actor }, mailbox)
  }

  forget(known.webhookPending, known.webhookOldest)
  if (outbox) {
    const { pending, oldestAt } = outbox
    known.webhookPending.set(pending)
    known.webhookOldest.set(oldestAt === undefined ? 0 : ageSeconds(oldestAt))
  }

  forget(known.databaseSize)
  if (databaseBytes !== undefined) known.databaseSize.set(databaseBytes)

  forget(known.gpuUtilization, known.gpuMemoryUsed, known.gpuMemory, known.gpuTemperature)
  for (const [gpu, reading] of rest.readings) {
    known.gpuUtilization.set({ gpu }, reading.utilizationPercent / 100)
    known.gpuMemoryUsed.set({ gpu }, reading.memoryUsedMiB * mib)
    known.gpuMemory.set({ gpu }, reading.memoryTotalMiB * mib)
    known.gpuTemperature.set({ gpu }, reading.temperatureC)
  }

  for (const { name, ok } of rest.checks) known.ready.set({ check: name }, Number(ok))
}

const mib = 1024 ** 2

const ageSeconds = (at: Timestamp): number => Math.max(0, wallNow() - at) / 1000

/** Also one without labels, which a reset alone would set to 0. */
function forget(...gauges: readonly Pick<Gauge, 'reset' | 'remove'>[]): void {
  for (const gauge of gauges) {
    gauge.reset()
    gauge.remove({})
  }
}
