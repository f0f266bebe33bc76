/** Rules for generations whose GPU has no actor: each is followed as by the actor of its GPU. */
import type { AttemptKey, GpuId } from '../../domain/job.ts'
import type { Step } from '../actor.ts'
import type { AttemptOrder } from './gpu-ports.ts'
import type { GpuCommand, GpuEffect, GpuNews, GpuState } from './gpu-protocol.ts'
import { transition as gpuTransition, idle } from './gpu-transition.ts'

export type CaretakerMessage = Readonly<
  | { type: 'careFor'; gpu: GpuId; order: AttemptOrder }
  /** The actor of its GPU is back, and adopts the generation itself. */
  | ({ type: 'letGo' } & AttemptKey)
  | Extract<GpuCommand, { type: 'stopGeneration' }>
  /** News may have been lost: the queue says again what is to be watched. */
  | { type: 'announce' }
  | GpuNews
>

export type CaretakerState = ReadonlyMap<string, Cared>

type Cared = Readonly<{ gpu: GpuId; generation: GpuState }>

export type CaretakerEffect = Readonly<
  | { do: 'announce' }
  | { do: 'letGo'; attempt: AttemptKey }
  | { do: 'follow'; gpu: GpuId; attempt: AttemptKey; effect: GpuEffect }
>

/** The queue then says again what is to be watched. */
export const startCaretaker: Step<CaretakerState, CaretakerEffect> = [
  new Map(),
  [{ do: 'announce' }],
]

export function transition(
  state: CaretakerState,
  message: CaretakerMessage,
): Step<CaretakerState, CaretakerEffect> {
  if (message.type === 'announce') return [state, [{ do: 'announce' }]]
  const attempt = attemptOf(message)
  const key = nameOf(attempt)
  const known = state.get(key)
  if (message.type === 'letGo') {
    return known ? [without(state, key), [{ do: 'letGo', attempt }]] : [state, []]
  }
  if (message.type === 'careFor') {
    const { gpu, order } = message
    // A restarted queue has forgotten what it was told.
    if (known) {
      return follow(state, key, attempt, gpu, gpuTransition(known.generation, { type: 'announce' }))
    }
    return follow(state, key, attempt, gpu, gpuTransition(idle, { type: 'adopt', order }))
  }
  if (!known) return [state, []]
  const { gpu, generation } = known
  return follow(state, key, attempt, gpu, gpuTransition(generation, message))
}

/** The GPU itself is not ready because of this: it gets no new job. */
function follow(
  state: CaretakerState,
  key: string,
  attempt: AttemptKey,
  gpu: GpuId,
  [generation, effects]: Step<GpuState, GpuEffect>,
): Step<CaretakerState, CaretakerEffect> {
  const isOver = generation.phase === 'idle'
  const next = isOver ? without(state, key) : new Map([...state, [key, { gpu, generation }]])
  const followed = effects.filter(
    (effect) => effect.do !== 'report' || effect.report.type !== 'gpuReady',
  )
  return [next, followed.map((effect) => ({ do: 'follow', gpu, attempt, effect }))]
}

export const nameOf = ({ jobId, epoch }: AttemptKey): string => `${jobId}/${epoch}`

function attemptOf(message: Exclude<CaretakerMessage, { type: 'announce' }>): AttemptKey {
  const { jobId, epoch } = message.type === 'careFor' ? message.order : message
  return { jobId, epoch }
}

function without(state: CaretakerState, key: string): CaretakerState {
  const rest = new Map(state)
  rest.delete(key)
  return rest
}
