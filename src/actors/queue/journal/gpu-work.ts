/** The work of each GPU as the queue knows it, and since when. */
import type { GpuSpell } from '../../../domain/gpu-work.ts'
import { type GenerationStage, type GpuId, stages } from '../../../domain/job.ts'
import type { Observation } from '../../../domain/observation.ts'
import { size } from '../../ordered-map.ts'
import { isHeld, nodeOn } from '../nodes.ts'
import { isUsable, type QueueState } from '../queue-state.ts'
import type { RunningJob } from '../running-jobs.ts'

type Work = ReadonlyMap<GpuId, readonly GpuSpell[]>
type GpuWorkSeen = Extract<Observation, { saw: 'gpuWork' }>

/** Covers all GPUs that get jobs, and former ones that still have a generation. */
export function gpuWorkOf(state: QueueState): Work {
  const former = [...state.running.values()].flatMap(({ phase, gpu }) =>
    phase === 'generating' ? [gpu] : [],
  )
  return workOf(state, [...state.gpus, ...former], state.running.values())
}

/**
 * Looks only at GPUs whose jobs have changed, and at idle ones when something has changed that may
 * keep them from work.
 */
export function gpuWorkSince(before: QueueState, after: QueueState): GpuWorkSeen {
  const { running } = after
  const changed = running.changedSince(before.running)
  const gone = running.goneSince(before.running)
  const gpus = new Set<GpuId>()
  for (const { jobId, gpu } of [...changed, ...gone]) {
    gpus.add(before.running.get(jobId)?.gpu ?? gpu)
    gpus.add(gpu)
  }
  const isFormer = (gpu: GpuId) => !running.on(gpu) && !after.gpus.includes(gpu)
  if (before.gpus !== after.gpus || [...gpus].some(isFormer))
    return { saw: 'gpuWork', gpus: gpuWorkOf(after), rest: 'gone' }
  const isSame =
    before.readyGpus === after.readyGpus &&
    before.gpuHealth === after.gpuHealth &&
    before.nodes === after.nodes &&
    before.open === after.open &&
    (size(before.waiting) === 0) === (size(after.waiting) === 0)
  if (!isSame) for (const gpu of running.idleGpus()) gpus.add(gpu)
  return { saw: 'gpuWork', gpus: workOf(after, [...gpus], changed), rest: 'same' }
}

/** A generation that has just ended is in it: its last stages may have become known together with its end. */
function workOf(state: QueueState, gpus: readonly GpuId[], jobs: Iterable<RunningJob>): Work {
  const ended = new Map<GpuId, RunningJob>()
  for (const job of jobs) {
    const isLatest = (ended.get(job.gpu)?.generatedAt ?? 0) <= (job.generatedAt ?? 0)
    if (job.phase === 'converting' && isLatest) ended.set(job.gpu, job)
  }
  return new Map(
    [...new Set(gpus)].map((gpu) => {
      const [before, now] = [ended.get(gpu), state.running.on(gpu)]
      return [gpu, [...(before ? spellsOf(before) : []), ...presentOf(state, gpu, now)]]
    }),
  )
}

function presentOf(
  state: QueueState,
  gpu: GpuId,
  job: RunningJob | undefined,
): readonly GpuSpell[] {
  if (job) return spellsOf(job)
  if (size(state.waiting) === 0) return [{ work: 'no_work' }]
  const isBlocked = !state.open || !isUsable(state, gpu) || isHeld(nodeOn(state, gpu))
  return [{ work: isBlocked ? 'blocked' : 'gap' }]
}

function spellsOf({ claimedAt, reading, trace }: RunningJob): readonly GpuSpell[] {
  const spells: GpuSpell[] = [{ work: 'starting', since: claimedAt }]
  const known = reading ?? trace
  if (!known) return spells
  const { source, began = {} } = known
  const { loading, imported } = began
  const isImportKnown =
    source === 'events' && (imported !== undefined || reading?.stage === 'loading')
  spells.push(spell(isImportKnown ? 'importing' : 'loading', loading))
  if (imported !== undefined) spells.push(spell('loading', imported))
  for (const stage of afterLoading) {
    const isCurrent = reading?.stage === stage
    if (isCurrent || began[stage] !== undefined) spells.push(spell(stage, began[stage]))
  }
  return spells
}

const spell = (work: GpuSpell['work'], since: number | undefined): GpuSpell =>
  since === undefined ? { work } : { work, since }

const afterLoading = stages.filter(
  (stage): stage is Exclude<GenerationStage, 'loading'> =>
    stage !== 'loading' && stage !== 'converting',
)
