/** A cancel in each stage: how soon it is answered, and whether anything is left. */
import { type Stage, stages } from '../../src/domain/job.ts'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { everythingOf } from '../chaos/processes.ts'
import { type Checks, FailedError, type Found, NotDoneError } from './checks.ts'
import { untilFreed, usedMiB } from './gpu-memory.ts'
import { shortest } from './videos.ts'
import type { WanService, Wished } from './wan-service.ts'

/** Long enough in the stage to be met there. 81 frames are decoded and saved in a second or more. */
const requests = {
  loading: shortest,
  encoding: shortest,
  denoising: { frames: 5, steps: 50 },
  decoding: { frames: 81, steps: 1 },
  saving: { frames: 81, steps: 1 },
} as const satisfies Partial<Record<Stage, Pick<Wished, 'frames' | 'steps'>>>

type CanceledStage = keyof typeof requests
const canceledStages = Object.keys(requests) as CanceledStage[]

const nameOf = (stage: CanceledStage): string => `cancel while ${stage}`
export const cancelNames = canceledStages.map(nameOf)

/** A stage may be over before the request to cancel arrives. */
const maxTries = 3

export async function cancelInEachStage(
  checks: Checks,
  service: WanService,
  gpu: number,
): Promise<void> {
  for (const stage of canceledStages) {
    await checks.check(nameOf(stage), async () => {
      for (let tries = 0; tries < maxTries; tries++) {
        const found = await cancelIn(stage, service, { gpu, isFirst: tries === 0 })
        if (found) return found
      }
      throw new NotDoneError(`the stage was over before the request, ${maxTries} times`)
    })
  }
}

/** Nothing: the request came after this stage. */
async function cancelIn(
  stage: CanceledStage,
  service: WanService,
  { gpu, isFirst }: Readonly<{ gpu: number; isFirst: boolean }>,
): Promise<Found<void> | undefined> {
  const [before, startsBefore] = [await usedMiB(gpu), await service.starts()]
  const id = await service.submit({ prompt: 'A red fox', seed: 9, ...requests[stage] })
  // Loading may be over before its status shows it, and then begins with the process.
  const hasBegun = () => stage === 'loading' && !isFirst && everythingOf(id).length > 0
  const job = await service.until(id, (seen) => hasReached(seen, stage) || hasBegun())
  if (job.status === 'error') throw new FailedError(`the job failed: ${job.error?.message ?? ''}`)
  const isIn = job.stage === stage || (stage === 'loading' && job.stage === null)
  const { ms, isCanceled } = await service.cancel(id)
  if (!isIn || !isCanceled) return undefined
  const left = everythingOf(id)
  if (left.length > 0) {
    const list = left.map(({ pid, what }) => `${pid} ${what}`).join('; ')
    throw new FailedError(`answered after ${Math.round(ms)} ms, and left: ${list}`)
  }
  const freed = await untilFreed(gpu, before)
  const reached = (await service.details(id)).attempts.at(-1)?.stages.at(-1)?.stage
  const further = reached === stage ? '' : `, at which time it was ${reached}`
  const start = (await service.starts()).warm > startsBefore.warm ? 'warm' : 'cold'
  return {
    detail: `started ${start}; answered in ${Math.round(ms)} ms${further}; no process left; ${freed.usedMiB} MiB in use ${freed.freedMs} ms later (${before} MiB before the job)`,
    figures: { start, ms, beforeMiB: before, ...freed },
    value: undefined,
  }
}

const hasReached = ({ stage }: JobJson, wanted: Stage): boolean =>
  stage !== null && stages.indexOf(stage) >= stages.indexOf(wanted)
