/** The attempts that the actors of GPUs of this process watch. */
import type { GenerationHandle, GenerationRunner } from '../actors/gpu/gpu-ports.ts'
import type { AttemptKey } from '../domain/job.ts'

/** By the handle of each. */
export type WatchedAttempts = Map<object, AttemptKey>

/** Notes the attempts that `runner` follows, from their start or adoption until they end or are let go. */
export function noting(runner: GenerationRunner, watched: WatchedAttempts): GenerationRunner {
  const follow =
    (begin: GenerationRunner['start']): GenerationRunner['start'] =>
    ({ jobId, epoch, ...rest }, observer): GenerationHandle => {
      const key = {}
      watched.set(key, { jobId, epoch })
      const forget = () => void watched.delete(key)
      const handle = begin(
        { jobId, epoch, ...rest },
        {
          ...observer,
          ended(result) {
            forget()
            observer.ended(result)
          },
        },
      )
      return {
        ...handle,
        detach() {
          forget()
          handle.detach()
        },
      }
    }
  return { start: follow(runner.start), adopt: follow(runner.adopt) }
}
