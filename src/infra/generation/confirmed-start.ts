/** Starts nothing for a node that stood still: its job may have ended elsewhere meanwhile. */
import type { GenerationHandle, GenerationRunner } from '../../actors/gpu/gpu-ports.ts'
import { messageOf } from '../../domain/errors.ts'
import type { AttemptKey } from '../../domain/job.ts'

export type ConfirmedStartOptions = Readonly<{
  /** Whether this node has beaten so recently that no other node can have its jobs. */
  isConfirmed(): boolean
  /** Reads whether the job still runs in this attempt. */
  isCurrent(attempt: AttemptKey): Promise<boolean>
  /** For how long an answer counts, in milliseconds of the monotonic clock. */
  maxAgeMs: number
}>

/** Asks the database before a start that beats do not confirm. An attempt that is not current ends as never begun. */
export function withConfirmedStart(
  runner: GenerationRunner,
  { isConfirmed, isCurrent, maxAgeMs }: ConfirmedStartOptions,
): GenerationRunner {
  return {
    adopt: runner.adopt,
    start: (order, observer) =>
      isConfirmed() ? runner.start(order, observer) : startLater(order, observer),
  }

  function startLater(...[order, observer]: Parameters<GenerationRunner['start']>) {
    let generation: GenerationHandle | undefined
    let isOver = false
    void confirm(order).then(
      (isWanted) => {
        if (isOver) return
        if (isWanted) generation = runner.start(order, observer)
        else observer.ended({ how: 'neverBegan' })
      },
      (error: unknown) => {
        if (isOver) return
        const message = `This node cannot read whether the job is still its own: ${messageOf(error)}`
        observer.ended({ how: 'failed', failure: { code: 'environment_broken', message } })
      },
    )
    return {
      stop(...how) {
        if (generation) return generation.stop(...how)
        if (!isOver) observer.ended({ how: 'neverBegan' })
        isOver = true
      },
      detach() {
        isOver = true
        generation?.detach()
      },
    } satisfies GenerationHandle
  }

  /** The node may stand still again while it asks. */
  async function confirm(attempt: AttemptKey): Promise<boolean> {
    for (;;) {
      const askedAt = performance.now()
      if (!(await isCurrent(attempt))) return false
      if (performance.now() - askedAt < maxAgeMs) return true
    }
  }
}
