import type {
  AttemptOrder,
  GenerationHandle,
  GenerationObserver,
  GenerationRunner,
  StopReason,
} from '../../src/actors/gpu/gpu-ports.ts'

/** What a GPU's actor made of its runner, and the test's way to say what the generation does. */
export type FakeGeneration = Readonly<{
  began: 'started' | 'adopted'
  order: AttemptOrder
  observer: GenerationObserver
  stops: readonly Readonly<{ reason: StopReason; graceMs: number }>[]
  isDetached(): boolean
}>

/** Runs nothing: the test decides what each generation does, and when. */
export function createFakeRunner(): {
  runner: GenerationRunner
  generations: readonly FakeGeneration[]
} {
  const generations: FakeGeneration[] = []

  function begin(
    began: FakeGeneration['began'],
    order: AttemptOrder,
    observer: GenerationObserver,
  ): GenerationHandle {
    const stops: { reason: StopReason; graceMs: number }[] = []
    let detached = false
    generations.push({ began, order, observer, stops, isDetached: () => detached })
    return {
      stop: (reason, graceMs) => void stops.push({ reason, graceMs }),
      detach: () => {
        detached = true
      },
    }
  }

  return {
    generations,
    runner: {
      start: (order, observer) => begin('started', order, observer),
      adopt: (order, observer) => begin('adopted', order, observer),
    },
  }
}
