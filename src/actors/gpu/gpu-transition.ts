import type { AttemptKey } from '../../domain/job.ts'
import type { StopReason } from './gpu-ports.ts'
import type {
  GenerationStart,
  GpuCommand,
  GpuEffect,
  GpuNews,
  GpuReport,
  GpuState,
  Held,
} from './gpu-protocol.ts'

export type GpuStep = readonly [GpuState, readonly GpuEffect[]]

export const idle: GpuState = { phase: 'idle' }

/** Every rule of a GPU's life, with no process, clock or actor in sight. */
export function transition(state: GpuState, message: GpuCommand | GpuNews): GpuStep {
  switch (message.type) {
    case 'announce':
      return [state, announcement(state)]
    case 'run':
    case 'adopt': {
      const { jobId, epoch } = message.order
      if (state.phase !== 'idle') {
        const known = isAbout(state, message.order)
        return [state, known ? [] : [report({ type: 'runDeclined', jobId, epoch })]]
      }
      const begin = {
        do: message.type === 'run' ? 'start' : 'adopt',
        order: message.order,
      } as const
      return [{ phase: 'busy', held: { jobId, epoch } }, [begin]]
    }
  }
  // Whatever names another attempt comes too late. Ignoring it here is why no timer is ever cleared.
  if (state.phase === 'idle' || !isAbout(state, message)) return [state, []]
  const { held } = state
  const { jobId, epoch } = held

  switch (message.type) {
    case 'stopGeneration':
      return stop(state, message.reason)
    case 'timeLimitReached':
      return stop(state, 'timeout')
    case 'generationStarted': {
      const { ageMs } = message
      const known = startOf(message)
      const began = report({ type: 'generationStarted', jobId, epoch, ...known })
      const limit = { do: 'limitTime', attempt: { jobId, epoch }, ageMs } as const
      return [{ ...state, held: { ...held, ...known } }, [began, limit]]
    }
    case 'generationReported':
      return [{ ...state, held: { ...held, reading: message.reading } }, [report(message)]]
    case 'generationEnded': {
      const { result } = message
      // The queue may know this attempt no more, since its node was lost: the GPU is not sound all the same.
      const left = result.how === 'unkillable' ? [report({ type: 'processesLeft' })] : []
      const ended = report({ type: 'generationEnded', jobId, epoch, result })
      return [idle, [...left, ended, report({ type: 'gpuReady' })]]
    }
  }
}

function stop(state: Exclude<GpuState, { phase: 'idle' }>, reason: StopReason): GpuStep {
  if (state.phase === 'stopping') return [state, []]
  return [{ phase: 'stopping', held: state.held, reason }, [{ do: 'stop', reason }]]
}

/** To a queue that knows nothing, everything that is known. */
function announcement(state: GpuState): GpuEffect[] {
  if (state.phase === 'idle') return [report({ type: 'gpuReady' })]
  const { jobId, epoch, startedAt, reading } = state.held
  const key = { jobId, epoch }
  const reports: GpuReport[] = [{ type: 'gpuReady', holding: key }]
  if (startedAt !== undefined) {
    reports.push({ type: 'generationStarted', ...key, ...startOf({ ...state.held, startedAt }) })
  }
  if (reading) reports.push({ type: 'generationReported', ...key, reading })
  return reports.map(report)
}

const startOf = ({ startedAt, command, start }: GenerationStart): GenerationStart => ({
  startedAt,
  ...(command && { command }),
  ...(start && { start }),
})

const report = (report: GpuReport): GpuEffect => ({ do: 'report', report })

const isAbout = (state: { held: Held }, { jobId, epoch }: AttemptKey): boolean =>
  state.held.jobId === jobId && state.held.epoch === epoch
