import type { AttemptKey, Failure, VideoFacts, VideoRequest } from '../../domain/job.ts'
import { dimensions, isAsGenerated, nativeSize, type WanTask } from '../../domain/wan-tasks.ts'
import type { Step } from '../actor.ts'
import type { ConversionOutput, SourceVideo } from './conversion-ports.ts'
import type {
  ActiveConversion,
  ConversionEffect,
  ConversionEnd,
  ConversionMessage,
  ConversionReport,
  ConversionState,
} from './conversion-protocol.ts'

/** A conversion that is killed is made anew, for its generation has cost minutes; but not for ever. */
const maxKills = 100

/**
 * Pauses after failures by the environment, each twice as long as the one before. The video has cost
 * minutes of a GPU: only after about half an hour of failures the attempt is given up, and the queue
 * judges the failure.
 */
const firstPauseMs = 500
const maxPauseMs = 15_000
export const maxFaults = 120

/** An order may cross the report of its end, as letters between machines do. No queue has more under way. */
const maxRemembered = 100

export type ConverterStep = Step<ConversionState, ConversionEffect>

/** No conversions yet. The queue sends them when it receives the announcement. */
export const startConverter = (limit: number): ConverterStep => [
  { active: [], ending: [], ended: [], limit },
  [report({ type: 'conversionReady' })],
]

/** Every rule of conversion, with no ffmpeg in sight. */
export function transition(
  task: WanTask,
  state: ConversionState,
  message: ConversionMessage,
): ConverterStep {
  if (message.type === 'announce') return [state, [report({ type: 'conversionReady' })]]
  if (message.type === 'withdrawn') return withdrawn(state, message)
  const found = state.active.find(({ conversion }) => isSame(conversion, message))

  if (message.type === 'convert') {
    if (found || isEnding(state, message)) return [state, []]
    const end = state.ended.find((end) => isSame(end, message))
    // Its source may be gone, and a second failure would remove the video.
    if (end) return [state, [report(end)]]
    const { type: _, ...conversion } = message
    const added: ActiveConversion = {
      conversion,
      step: 'waiting',
      aborted: false,
      kills: 0,
      faults: 0,
    }
    return startWaiting({ ...state, active: [...state.active, added] })
  }
  if (message.type === 'abort') return abort(state, found, message)
  // A step of a conversion that is over: nobody is interested any longer.
  if (!found) return [state, []]

  const { conversion } = found
  const { jobId, epoch } = conversion
  if (found.aborted) return end(state, found, { type: 'conversionAborted', jobId, epoch })
  const fail = (failure: Failure) =>
    end(state, found, { type: 'conversionFailed', jobId, epoch, failure })

  switch (message.type) {
    case 'inspected': {
      const { source } = message
      if (source.how === 'published' && !judgeFinished(conversion.request, source.facts)) {
        return finish(state, found, source.facts)
      }
      if (source.how === 'published' || source.how === 'lost') {
        return end(state, found, { type: 'conversionLost', jobId, epoch })
      }
      const verdict = judgeSource(task, conversion.request, source)
      if ('code' in verdict) return fail(verdict)
      return [
        withStep(state, { ...found, step: 'encoding' }),
        [{ do: 'encode', conversion, source: verdict }],
      ]
    }
    case 'encoded': {
      const { video } = message
      const failure = judgeFinished(conversion.request, video)
      if (failure) return fail(failure)
      return [
        withStep(state, { ...found, step: 'publishing', video }),
        [{ do: 'publish', conversion }],
      ]
    }
    case 'published':
      return found.video ? finish(state, found, found.video) : [state, []]
    case 'stepFailed':
      if (message.killed && found.kills < maxKills) {
        const again: ActiveConversion = { ...found, step: 'inspecting', kills: found.kills + 1 }
        return [withStep(state, again), [{ do: 'inspect', conversion }]]
      }
      if (message.fault && found.faults < maxFaults) return pause(state, found, message.why)
      return fail({ code: message.fault ?? 'conversion_failed', message: message.why })
    case 'retryDue':
      return found.step === 'pausing'
        ? startWaiting(withStep(state, { ...found, step: 'waiting' }))
        : [state, []]
  }
}

/** Others have their turn meanwhile. */
function pause(state: ConversionState, found: ActiveConversion, why: string): ConverterStep {
  const { jobId, epoch } = found.conversion
  const attempt = { jobId, epoch }
  const afterMs = Math.min(maxPauseMs, firstPauseMs * 2 ** found.faults)
  const pausing: ActiveConversion = { ...found, step: 'pausing', faults: found.faults + 1 }
  const [next, effects] = startWaiting(withStep(state, pausing))
  const logged: ConversionEffect[] =
    found.faults === 0 ? [{ do: 'logFault', attempt, why, afterMs }] : []
  return [next, [...logged, { do: 'retryLater', attempt, afterMs }, ...effects]]
}

/** Exit 0 does not mean that there is a video, nor a video that it is whole (facts: `save_video`). */
export function judgeSource(
  task: WanTask,
  request: VideoRequest,
  source: Exclude<SourceVideo, { how: 'lost' | 'published' }>,
): VideoFacts | Failure {
  if (source.how === 'missing') {
    return {
      code: 'no_output',
      message: 'The generation ended as if all were well but left no video; its log may tell why.',
    }
  }
  if (source.how === 'unreadable') {
    return {
      code: 'truncated_output',
      message: `The generation left a file that is not a whole video: ${source.why}`,
    }
  }
  const { facts } = source
  const { frames, size } = request
  if (facts.frames < frames) {
    return {
      code: 'truncated_output',
      message: `The generation left a video of ${facts.frames} frames where ${frames} were asked for.`,
    }
  }
  if (facts.frames > frames || !isAsGenerated(task, request, facts)) {
    const wanted = describe({ ...dimensions(nativeSize(task, size)), frames })
    const aspect = request.image ? ' in the aspect of its image' : ''
    return {
      code: 'unexpected_output',
      message: `The generation left ${describe(facts)} where ${wanted}${aspect} was asked for.`,
    }
  }
  return facts
}

function judgeFinished({ frames, size }: VideoRequest, video: VideoFacts): Failure | undefined {
  const finished = dimensions(size)
  const { width, height } = finished
  if (video.frames === frames && video.width === width && video.height === height) return undefined
  return {
    code: 'conversion_failed',
    message: `The conversion made ${describe(video)} where ${describe({ ...finished, frames })} was wanted.`,
  }
}

const describe = ({
  width,
  height,
  frames,
}: Omit<VideoFacts, 'durationSeconds' | 'bytes'>): string =>
  `${frames} frames of ${width}x${height}`

function abort(
  state: ConversionState,
  found: ActiveConversion | undefined,
  { jobId, epoch, filename }: ConversionOutput,
): ConverterStep {
  const gone = { type: 'conversionAborted', jobId, epoch } as const
  if (!found) {
    // Perhaps a previous incarnation had started it, and even published its file.
    return isEnding(state, gone) ? [state, []] : withdraw(state, { jobId, epoch, filename }, gone)
  }
  if (isIdle(found)) return end(state, found, gone)
  return [
    withStep(state, { ...found, aborted: true }),
    [{ do: 'interrupt', attempt: { jobId, epoch } }],
  ]
}

function finish(state: ConversionState, over: ActiveConversion, video: VideoFacts): ConverterStep {
  const { jobId, epoch } = over.conversion
  const end = { type: 'converted', jobId, epoch, video } as const
  const [next, effects] = startWaiting(remember(withoutStep(state, over), end))
  return [next, [report(end), ...effects]]
}

/** Without a video. Its name is free when the queue is told. */
function end(state: ConversionState, over: ActiveConversion, news: ConversionEnd): ConverterStep {
  const { jobId, epoch, filename } = over.conversion
  const [ending, first] = withdraw(withoutStep(state, over), { jobId, epoch, filename }, news)
  const [next, effects] = startWaiting(ending)
  return [next, [...first, ...effects]]
}

const withdraw = (
  state: ConversionState,
  output: ConversionOutput,
  news: ConversionEnd,
): ConverterStep => [
  { ...state, ending: [...state.ending, { output, report: news }] },
  [{ do: 'withdraw', output }],
]

function withdrawn(state: ConversionState, attempt: AttemptKey): ConverterStep {
  const over = state.ending.find(({ output }) => isSame(output, attempt))
  if (!over) return [state, []]
  const ending = state.ending.filter((other) => other !== over)
  return [remember({ ...state, ending }, over.report), [report(over.report)]]
}

const remember = (state: ConversionState, end: ConversionEnd): ConversionState => ({
  ...state,
  ended: [...state.ended.filter((other) => !isSame(other, end)), end].slice(-maxRemembered),
})

const isEnding = ({ ending }: ConversionState, attempt: AttemptKey): boolean =>
  ending.some(({ output }) => isSame(output, attempt))

/** ffmpeg takes all cores it finds: only so many at a time, the rest in the order they came. */
function startWaiting(state: ConversionState): ConverterStep {
  const effects: ConversionEffect[] = []
  let room = state.limit - state.active.filter((one) => !isIdle(one)).length
  const active = state.active.map((one): ActiveConversion => {
    if (one.step !== 'waiting' || room <= 0) return one
    room -= 1
    effects.push({ do: 'inspect', conversion: one.conversion })
    return { ...one, step: 'inspecting' }
  })
  return [{ ...state, active }, effects]
}

const isIdle = ({ step }: ActiveConversion): boolean => step === 'waiting' || step === 'pausing'

const withoutStep = (state: ConversionState, over: ActiveConversion): ConversionState => ({
  ...state,
  active: state.active.filter((other) => other !== over),
})

const withStep = (state: ConversionState, changed: ActiveConversion): ConversionState => ({
  ...state,
  active: state.active.map((one) => (isSame(one.conversion, changed.conversion) ? changed : one)),
})

const isSame = (a: AttemptKey, b: AttemptKey): boolean => a.jobId === b.jobId && a.epoch === b.epoch

const report = (report: ConversionReport): ConversionEffect => ({ do: 'report', report })
