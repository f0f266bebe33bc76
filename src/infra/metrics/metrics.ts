import type { GpuId } from '../../job.ts'
import type { Observe } from '../../observation.ts'
import type { Gpu } from '../gpus.ts'
import { createCatalogue } from './catalogue.ts'
import type { Figures } from './figures.ts'
import { setGauges } from './gauges.ts'
import { createTally } from './tally.ts'

export type MetricsOptions = Readonly<{
  gpus: readonly Gpu[]
  /** The supervisor's name for the actor of a GPU. */
  childOf(gpu: GpuId): string
  version: string
  task: string
  maxQueue: number
  minFreeBytes: number
}>

export type Metrics = Readonly<{
  observe: Observe
  /** In the text format of Prometheus, with these figures as they are now. */
  expose(figures: Figures): Promise<string>
}>

/** Counters and histograms are told what has happened; gauges are read when somebody asks. */
export function createMetrics(options: MetricsOptions): Metrics {
  const { gpus, childOf, version, task, maxQueue, minFreeBytes } = options
  const ids = gpus.map(({ id }) => id)
  const known = createCatalogue()
  const { observe, catchUp } = createTally(known, ids)

  known.buildInfo.set({ version, node: process.version, task }, 1)
  known.queueLimit.set(maxQueue)
  known.diskLimit.set(minFreeBytes)
  for (const { id, name } of gpus) {
    if (name !== undefined) known.gpuInfo.set({ gpu: id, model: name }, 1)
  }

  return {
    observe,
    expose(figures) {
      catchUp()
      setGauges(known, { gpus: ids, childOf }, figures)
      return known.registry.metrics()
    },
  }
}
