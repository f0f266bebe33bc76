/** Result of an attempt, from how it ended and what its output says. */
import type { GenerationResult } from '../../../actors/gpu/gpu-ports.ts'
import { classifyExit, type Evidence, type GenerationExit } from '../progress/failure.ts'
import type { AttemptEnd } from './attempt-state.ts'

export function resultOfEnd(
  end: AttemptEnd,
  evidence: Evidence | undefined,
  hasFiles: boolean,
): GenerationResult {
  if (end.survivors > 0) return { how: 'unkillable' }
  // Without room no shim can say who it is, nor how its generation ended.
  if (end.how === 'lost') {
    return end.diskFull ? resultOf({ ...nobodySaw, error: lostOnFullDisk }) : { how: 'lost' }
  }
  // Its video is gone, or could not be saved.
  if (!hasFiles) return resultOf({ ...end.exit, reason: 'directory_removed', code: null })
  return resultOf(end.exit, { finished: false, ...evidence, diskFull: end.diskFull })
}

export function resultOf(
  exit: GenerationExit,
  evidence: Evidence = { finished: false },
): GenerationResult {
  const failure = classifyExit(exit, evidence)
  return failure ? { how: 'failed', failure } : { how: 'completed' }
}

const nobodySaw = { code: null, signal: null, reason: null }
const lostOnFullDisk = 'No space left on device: nobody could see how it ended'
