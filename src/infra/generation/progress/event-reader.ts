/** Reads the events that the launcher writes down beside a generation (`launcher.py` lists them). */
import * as v from 'valibot'
import {
  type GenerationStage,
  type Reading,
  type StageBegins,
  stages,
  type Timestamp,
} from '../../../domain/job.ts'
import {
  type EmbeddingSource,
  type LaunchedPart,
  launchedParts,
} from '../../../domain/observation.ts'
import type { AttemptClock } from '../attempt/attempt-clock.ts'
import { beganUpTo, type Pace, timing, withStep } from './pace.ts'
import { createSplitter } from './records.ts'

export type EventReader = {
  /** Takes bytes in chunks of any size. No event in them can be later than now. */
  feed(bytes: Uint8Array, now: Timestamp): void
  /** The latest reading; undefined before the first event. */
  readonly reading: Reading | undefined
}

/** A part of the launcher that leaves its work to the script, and the reason. */
export type Fallback = Readonly<{ part: LaunchedPart; why: string }>

/** Far more than an event takes; what is longer is none. */
export const maxEventBytes = 4096

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const at = v.pipe(v.number(), v.finite())

/** Those that say how far it is. Others say when parts of that were done, for people. */
const Event = v.variant('event', [
  v.object({ event: v.picklist(['started', 'imported', 'pipeline_ready', 'saving']), at }),
  v.object({ event: v.literal('sampling'), at, total: count }),
  v.object({ event: v.literal('step'), at, step: count, total: count }),
  v.object({ event: v.literal('memory'), at, reserved: count }),
  v.object({ event: v.literal('embedding'), at, found: v.picklist([0, 1]) }),
  v.object({
    event: v.literal('fallback'),
    at,
    why: v.string(),
    // Launchers of earlier versions name none.
    part: v.fallback(v.picklist(launchedParts), 'progress'),
  }),
])
type Event = v.InferOutput<typeof Event>
const EventLine = v.pipe(v.string(), v.parseJson(), Event)

export function createEventReader({
  totalSteps,
  startedAt,
  clock,
  onFallback = () => {},
  onEncoded = () => {},
}: {
  totalSteps: number
  startedAt: Timestamp
  /** Called when a part of the launcher finds a checkout that it does not know. */
  onFallback?(fallback: Fallback): void
  /** Called for each prompt, with its number in this generation from 1 on. */
  onEncoded?(source: EmbeddingSource, number: number): void
  clock?: Pick<AttemptClock, 'place'>
}): EventReader {
  let alive = false
  let stage: GenerationStage = 'loading'
  let began: StageBegins = { loading: startedAt }
  let pace: Pace = []
  let peakVramBytes: number | undefined
  let encoded = 0
  let latest = startedAt
  let readAt = startedAt
  const splitter = createSplitter(maxEventBytes, (line) => {
    const event = v.safeParse(EventLine, line)
    if (event.success) read(event.output)
  })

  return {
    feed(bytes, now) {
      readAt = now
      splitter.push(bytes)
    },
    get reading(): Reading | undefined {
      if (!alive) return undefined
      const step = pace.at(-1)?.step
      return {
        stage,
        ...(stage === 'denoising' && step !== undefined && { step, totalSteps }),
        source: 'events',
        began: beganUpTo(stage, began, latest),
        ...timing(pace),
        ...(peakVramBytes !== undefined && { peakVramBytes }),
      }
    },
  }

  function read(event: Event): void {
    alive = true
    const writtenAt = event.at * 1000
    latest = Math.max(latest, Math.min(clock?.place(writtenAt) ?? writtenAt, readAt))
    if (event.event === 'imported') noteImport()
    else if (event.event === 'pipeline_ready') reach('encoding')
    else if (event.event === 'sampling') stepTo(0, event.total)
    else if (event.event === 'step') stepTo(event.step, event.total)
    else if (event.event === 'saving') reach('saving')
    else if (event.event === 'memory') {
      peakVramBytes = Math.max(peakVramBytes ?? 0, event.reserved)
    } else if (event.event === 'embedding') {
      encoded += 1
      onEncoded(event.found ? 'cache' : 'encoder', encoded)
    } else if (event.event === 'fallback') onFallback({ part: event.part, why: event.why })
  }

  function noteImport(): void {
    if (stage === 'loading') began = { imported: latest, ...began }
  }

  /** As with the output, a bar of another length is not the one that was asked for. */
  function stepTo(step: number, total: number): void {
    if (total !== totalSteps || step > total || stages.indexOf(stage) > sampling) return
    reach('denoising')
    pace = withStep(pace, step, latest)
    if (step === total) reach('decoding')
  }

  function reach(next: GenerationStage): void {
    if (stages.indexOf(next) <= stages.indexOf(stage)) return
    stage = next
    began = { ...began, [next]: latest }
  }
}

const sampling = stages.indexOf('denoising')
