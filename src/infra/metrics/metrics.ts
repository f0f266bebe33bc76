import type { Logger } from '../../domain/log.ts'
import type { NodeName } from '../../domain/node.ts'
import type { Observe } from '../../domain/observation.ts'
import type { Gpu } from '../machine/gpus.ts'
import { createCatalogue } from './catalogue.ts'
import type { Figures } from './figures.ts'
import { setGauges } from './gauges.ts'
import { createTally } from './tally.ts'

export type MetricsOptions = Readonly<{
  /** Name of this node. */
  node: NodeName
  gpus: readonly Gpu[]
  version: string
  task: string
  maxQueue: number
  minFreeBytes: number
  log: Logger
}>

export type Metrics = Readonly<{
  observe: Observe
  /** In the text format of Prometheus, with these figures as they are now. */
  expose(figures: Figures): Promise<string>
}>

/** Counters and histograms are told what has happened; gauges are read when somebody asks. */
export function createMetrics(options: MetricsOptions): Metrics {
  const { node, gpus, version, task, maxQueue, minFreeBytes, log } = options
  const ids = gpus.map(({ id }) => id)
  const known = createCatalogue()
  const tally = createTally(known, ids)

  known.buildInfo.set({ version, nodejs: process.version, task }, 1)
  known.nodeInfo.set({ node }, 1)
  known.queueLimit.set(maxQueue)
  known.diskLimit.set(minFreeBytes)
  for (const { id, name } of gpus) {
    if (name !== undefined) known.gpuInfo.set({ gpu: id, model: name }, 1)
  }

  return {
    // Whoever is looked at must not stumble over it.
    observe(observation) {
      try {
        tally.observe(observation)
      } catch (error) {
        log.error({ err: error, saw: observation.saw }, 'something could not be counted')
      }
    },
    expose(figures) {
      tally.catchUp()
      setGauges(known, figures)
      return known.registry.metrics()
    },
  }
}
