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
  timeout: false,
  no_output: false,
  truncated_output: true,
  unexpected_output: false,
  conversion_failed: false,
}

export const isRetryable = (code: FailureCode): boolean => retryable[code]
