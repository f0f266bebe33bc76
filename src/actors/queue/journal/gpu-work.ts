/** The work of each GPU as the queue knows it, and since when. */
import type { GpuSpell } from '../../../domain/gpu-work.ts'
import { type GenerationStage, type GpuId, stages } from '../../../domain/job.ts'
import { size } from '../../ordered-map.ts'
import { claimsAllowed } from '../environment-state.ts'
import { isUsable, type QueueState, type RunningJob } from '../queue-state.ts'

/**
 * Covers all GPUs that get jobs, and former ones that still have a generation. A generation that has
 * just ended is in it: its last stages may have become known together with its end.
 */
export function gpuWorkOf(state: QueueState): ReadonlyMap<GpuId, readonly GpuSpell[]> {
  const ended = new Map<GpuId, RunningJob>()
  const current = new Map<GpuId, RunningJob>()
  for (const job of state.running.values()) {
    if (job.phase === 'generating') current.set(job.gpu, job)
    else if ((ended.get(job.gpu)?.generatedAt ?? 0) <= (job.generatedAt ?? 0))
      ended.set(job.gpu, job)
  }
  const gpus = new Set([...state.settings.gpus, ...current.keys()])
  return new Map(
    [...gpus].map((gpu) => {
      const [before, now] = [ended.get(gpu), current.get(gpu)]
      const present = now ? spellsOf(now) : [withoutJob(state, gpu)]
      return [gpu, [...(before ? spellsOf(before) : []), ...present]]
    }),
  )
}

function withoutJob(state: QueueState, gpu: GpuId): GpuSpell {
  if (size(state.waiting) === 0) return { work: 'no_work' }
  const { open, hasRoom, environment } = state
  const isHeld = !open || !hasRoom || claimsAllowed(environment) === 'none'
  return { work: isHeld || !isUsable(state, gpu) ? 'blocked' : 'gap' }
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
