import type { GpuId } from '../job.ts'
import type { Gpu } from './gpus.ts'
import { measureGpus, type NvidiaReading } from './nvidia-smi.ts'

/** How old a reading may be before a new one is taken. */
const freshMs = 5_000

/**
 * The latest reading of each GPU's instruments, at once: asking for it starts a new one when it is
 * old, and nobody waits for nvidia-smi. Where that has never answered, it is not asked again.
 */
export function createGpuMeter(gpus: readonly Gpu[]): () => ReadonlyMap<GpuId, NvidiaReading> {
  const known = gpus.filter(({ uuid }) => uuid !== undefined)
  let readings: ReadonlyMap<GpuId, NvidiaReading> = new Map()
  let takenAt = Number.NEGATIVE_INFINITY
  let isBusy = false

  return () => {
    if (known.length > 0 && !isBusy && performance.now() - takenAt > freshMs) void refresh()
    return readings
  }

  async function refresh(): Promise<void> {
    isBusy = true
    const measured = await measureGpus()
    readings = new Map(
      known.flatMap(({ id, uuid }) => {
        const reading = measured.find((one) => one.uuid === uuid)
        return reading ? [[id, reading] as const] : []
      }),
    )
    takenAt = performance.now()
    isBusy = false
  }
}
