/** What each kind of failure means for the job: one table, so that the rule is read in one place. */
import type { FailureCode } from './job.ts'

/**
 * A failure is tried again when another try may well end differently. What the same arguments on
 * the same machine will do again is not: it would cost minutes of a GPU to learn nothing.
 */
const retryable: Record<FailureCode, boolean> = {
  generation_failed: true,
  invalid_arguments: false,
  checkpoint_missing: false,
  environment_broken: false,
  out_of_memory: true,
  gpu_error: true,
  killed: true,
  lost: true,
  unkillable: false,
  timeout: false,
  no_output: false,
  truncated_output: true,
  unexpected_output: false,
  conversion_failed: false,
  disk_full: true,
}

/** What speaks against the GPU rather than the job, if it happens to one job after the other. */
const gpuFaults: readonly FailureCode[] = ['out_of_memory', 'gpu_error', 'killed']

export const blamesGpu = (code: FailureCode): boolean => gpuFaults.includes(code)

/** In the words of the system, of Python, of Node, or of ffmpeg. */
export const saysDiskFull = (text: string): boolean =>
  /no space left on device|disk quota exceeded|\b(?:ENOSPC|EDQUOT|Errno 28|Errno 122)\b/i.test(text)

export const isRetryable = (code: FailureCode): boolean => retryable[code]
