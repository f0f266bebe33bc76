import type { GpuId } from '../../domain/job.ts'
import type { Gpu } from './gpus.ts'
import { measureGpus, type NvidiaReading } from './nvidia-smi.ts'

/** How old a reading may be before a new one is taken. */
const freshMs = 5_000

/** When nvidia-smi is asked again that did not answer, as where there is none. */
const askAgainMs = 60_000

/**
 * The latest reading of each GPU's instruments, at once: asking for it starts a new one when it is
 * old, and nobody waits for nvidia-smi.
 */
export function createGpuMeter(gpus: readonly Gpu[]): () => ReadonlyMap<GpuId, NvidiaReading> {
  let readings: ReadonlyMap<GpuId, NvidiaReading> = new Map()
  let dueAt = 0
  let isBusy = false

  return () => {
    if (!isBusy && performance.now() >= dueAt) void refresh()
    return readings
  }

  async function refresh(): Promise<void> {
    isBusy = true
    const measured = await measureGpus()
    readings = new Map(
      gpus.flatMap((gpu) => {
        const reading = measured.find((one) => isReadingOf(one, gpu))
        return reading ? [[gpu.id, reading] as const] : []
      }),
    )
    dueAt = performance.now() + (measured.length > 0 ? freshMs : askAgainMs)
    isBusy = false
  }
}

/** One that was given by its number is known by that alone. */
export const isReadingOf = (reading: NvidiaReading, { device, uuid }: Gpu): boolean =>
  uuid === undefined ? device === String(reading.index) : uuid === reading.uuid
