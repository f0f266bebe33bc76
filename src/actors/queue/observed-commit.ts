import type { Observe } from '../../domain/observation.ts'
import type { CommitResult } from './queue-ports.ts'

/** Commits operations and observes the outcome and the duration. Rejects like the commit. */
export async function observedCommit<Operation>(
  observe: Observe,
  operations: readonly Operation[],
  commit: (operations: readonly Operation[]) => Promise<CommitResult>,
): Promise<CommitResult> {
  const startedAt = performance.now()
  try {
    const result = await commit(operations)
    const tookMs = performance.now() - startedAt
    observe(
      result.how === 'committed'
        ? { saw: 'committed', operations: operations.length, tookMs }
        : { saw: 'commitFailed' },
    )
    return result
  } catch (error) {
    observe({ saw: 'commitFailed' })
    throw error
  }
}
