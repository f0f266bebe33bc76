/** Generations and conversions that take their time and do nothing: no process, no file. */
import { setTimeout as delay } from 'node:timers/promises'
import type { VideoTools } from '../../../src/actors/conversion/conversion-ports.ts'
import type {
  AttemptOrder,
  GenerationHandle,
  GenerationObserver,
  GenerationRunner,
} from '../../../src/actors/gpu/gpu-ports.ts'
import type { Reading, StageBegins, VideoFacts, VideoRequest } from '../../../src/domain/job.ts'
import { wallNow } from '../../../src/domain/time.ts'
import { dimensions, nativeSize } from '../../../src/domain/wan-tasks.ts'

/** A generation reports each of its steps. */
export const stepMs = 2_000
const loadMs = 4_000
const encodeMs = 1_000
const decodeMs = 2_000
const saveMs = 1_000
const convertMs = 500

/** About as long as that of a real generation. */
const command = [
  ...['python3', 'launcher.py', 'generate.py', '--task', 'ti2v-5B', '--size', '1280*704'],
  ...['--ckpt_dir', '/models/Wan2.2-TI2V-5B', '--frame_num', '121', '--sample_steps', '150'],
  ...['--base_seed', '1', '--save_file', '/data/work/0123/1/video.mp4', '--prompt', 'a fox'],
]

export type WorkCounts = { generating: number; generated: number; converted: number }

/** `firstStep`: step at which the first generation begins, as if it had run for a while. */
export function createSimulatedRunner(counts: WorkCounts, firstStep: number): GenerationRunner {
  let isFirst = true
  return {
    start(order, observer) {
      const step = isFirst ? firstStep : 0
      isFirst = false
      return generate(order, observer, { counts, step })
    },
    // All generations run in this process, and their actors do not crash.
    adopt(_order, observer) {
      observer.ended({ how: 'lost' })
      return { stop() {}, detach() {} }
    },
  }
}

function generate(
  { request: { steps } }: AttemptOrder,
  observer: GenerationObserver,
  { counts, step }: Readonly<{ counts: WorkCounts; step: number }>,
): GenerationHandle {
  const stopping = new AbortController()
  const { signal } = stopping
  counts.generating += 1
  run()
    .catch(() => {
      const message = 'The generation was stopped.'
      observer.ended({ how: 'failed', failure: { code: 'killed', message } })
    })
    .finally(() => {
      counts.generating -= 1
    })
  return { stop: () => stopping.abort(), detach: () => stopping.abort() }

  async function run(): Promise<void> {
    let began: StageBegins = {}
    const report = (stage: Reading['stage'], rest: Partial<Reading> = {}) => {
      began = { [stage]: wallNow(), ...began }
      const memory = { peakVramBytes: 24_000_000_000 }
      observer.reported({ stage, source: 'events', began, ...memory, ...rest })
    }
    const pause = (ms: number) => delay(ms, undefined, { signal })
    await pause(100)
    observer.started(wallNow(), 0, command, 'cold')
    report('loading')
    await pause(loadMs)
    report('encoding')
    await pause(encodeMs)
    for (let done = step; done <= steps; done++) {
      const pace = { steppedAt: wallNow(), secondsPerStep: stepMs / 1_000 }
      report('denoising', { step: done, totalSteps: steps, ...(done > step && pace) })
      await pause(stepMs)
    }
    report('decoding')
    await pause(decodeMs)
    report('saving')
    await pause(saveMs)
    counts.generated += 1
    observer.ended({ how: 'completed' })
  }
}

/** Finds what a generation of `ti2v-5B` leaves. */
export function createSimulatedTools(counts: WorkCounts): VideoTools {
  return {
    async inspect({ request }) {
      return { how: 'readable', facts: factsOf(request, nativeSize('ti2v-5B', request.size)) }
    },
    async encode({ request }, _source, signal) {
      await delay(convertMs, undefined, { signal })
      return factsOf(request, request.size)
    },
    async publish() {
      counts.converted += 1
    },
    async withdraw() {},
  }
}

const factsOf = ({ frames }: VideoRequest, size: VideoRequest['size']): VideoFacts => ({
  ...dimensions(size),
  ...{ frames, durationSeconds: frames / 24, bytes: 3_100_000, signature: 'simulated' },
})
