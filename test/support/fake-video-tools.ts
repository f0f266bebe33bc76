import type { VideoTools } from '../../src/actors/conversion/conversion-ports.ts'
import type { AttemptKey, VideoFacts } from '../../src/domain/job.ts'

type Step = 'inspect' | 'encode' | 'publish' | 'withdraw'

/** A step that was asked for, and the test's way to end it. */
export type FakeStep = Readonly<{
  step: Step
  attempt: AttemptKey
  source?: VideoFacts
  signal?: AbortSignal
  succeeds(result?: unknown): void
  fails(error: unknown): void
}>

/** Touches no file: the test decides how, and when, each step ends. */
export function createFakeVideoTools(): { tools: VideoTools; steps: readonly FakeStep[] } {
  const steps: FakeStep[] = []

  function take<T>(
    step: Step,
    { jobId, epoch }: AttemptKey,
    details: Pick<FakeStep, 'source' | 'signal'> = {},
  ): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const succeeds = (result?: unknown) => resolve(result as T)
    steps.push({ step, attempt: { jobId, epoch }, ...details, succeeds, fails: reject })
    return promise
  }

  return {
    steps,
    tools: {
      inspect: (attempt) => take('inspect', attempt),
      encode: (conversion, source, signal) => take('encode', conversion, { source, signal }),
      publish: (conversion, signal) => take('publish', conversion, { signal }),
      withdraw: (output) => take('withdraw', output),
    },
  }
}
