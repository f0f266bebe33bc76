/** Memory of one GPU that is in use, by whomever. */
import { setTimeout as delay } from 'node:timers/promises'
import { measureGpus } from '../../src/infra/machine/nvidia-smi.ts'
import { FailedError } from './checks.ts'

/** Readings vary by so much, and other programs use the GPU. */
const slackMiB = 64

/** A driver gives memory back when the process has ended, within a second or two. */
const maxFreeingMs = 10_000

export async function usedMiB(gpu: number): Promise<number> {
  const reading = (await measureGpus()).find(({ index }) => index === gpu)
  if (!reading) throw new Error(`nvidia-smi gave no figures of GPU ${gpu}`)
  return reading.memoryUsedMiB
}

export type Freed = Readonly<{ usedMiB: number; freedMs: number }>

/** Waits until no more is in use than before; fails if that is never so. */
export async function untilFreed(gpu: number, beforeMiB: number): Promise<Freed> {
  const begin = performance.now()
  for (;;) {
    const used = await usedMiB(gpu)
    const freedMs = Math.round(performance.now() - begin)
    if (used <= beforeMiB + slackMiB) return { usedMiB: used, freedMs }
    if (freedMs > maxFreeingMs) {
      const seconds = maxFreeingMs / 1000
      const message = `${used} MiB of the GPU are in use ${seconds} s after the end; before it were ${beforeMiB} MiB`
      throw new FailedError(message, { usedMiB: used, beforeMiB })
    }
    await delay(50)
  }
}
