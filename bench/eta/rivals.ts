/** What others do: a mean, and the sampling bar's own word. */
import type { FinishedAttempt } from '../../src/actors/queue/queue-protocol.ts'
import { positionOf, type QueueState } from '../../src/actors/queue/queue-state.ts'
import type { GpuId, JobId } from '../../src/domain/job.ts'

const caution = 1.05
const beforeAny = 540

/** Given every advantage: the mean is that of its own GPU, and the queue is shared out over all GPUs. */
export function createRivals(gpuCount: number) {
  const times = new Map<GpuId, number[]>()
  const all: number[] = []
  const mean = (values: readonly number[]) =>
    values.length === 0 ? beforeAny : values.reduce((sum, value) => sum + value, 0) / values.length

  return {
    succeeded({ gpu, claimedAt, endedAt }: FinishedAttempt): void {
      const seconds = (endedAt - claimedAt) / 1000
      const own = [...(times.get(gpu) ?? []), seconds].slice(-50)
      times.set(gpu, own)
      all.push(seconds)
      if (all.length > 50 * gpuCount) all.shift()
    },
    tell(jobId: JobId, state: QueueState, now: number): { plain: number; tqdm?: number } {
      const job = state.running.get(jobId)
      if (!job) {
        const ahead = (positionOf(state, jobId) ?? 1) - 1 + state.running.size
        return { plain: mean(all) * (Math.floor(ahead / gpuCount) + 1) * caution }
      }
      const elapsed = (now - job.claimedAt) / 1000
      const ownMean = mean(times.get(job.gpu) ?? all)
      const plain = Math.max(0, ownMean - elapsed) * caution
      const { step = 0, began } = job.reading ?? {}
      if (job.reading?.stage !== 'denoising' || step === 0 || !began?.denoising) return { plain }
      const perStep = (now - began.denoising) / 1000 / step
      return { plain, tqdm: perStep * (job.shape.steps - step) }
    },
  }
}
