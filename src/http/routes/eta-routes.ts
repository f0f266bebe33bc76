import { Hono } from 'hono'
import * as v from 'valibot'
import { type ActorRef, ask } from '../../actors/actor.ts'
import type { CheckpointReview, EtaMessage } from '../../actors/eta/eta-protocol.ts'
import { RefusalError } from '../../domain/errors.ts'
import { type Checkpoint, checkpoints } from '../../domain/estimate.ts'
import type { History } from '../../domain/history.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { OutcomesQuery } from '../request/parameters.ts'
import { route } from '../request/route.ts'
import { EtaJson, etaJson } from '../views/job-view.ts'
import { Count, Time, Uuid } from '../views/words.ts'

const NextJobJson = v.object({
  queue_position: v.pipe(
    Count,
    v.description('place that a new job would have in the queue; jobs of all clients count'),
  ),
  ...EtaJson.entries,
})
type NextJobJson = v.InferOutput<typeof NextJobJson>

const ReviewJson = v.object({
  checkpoint: v.pipe(v.picklist(checkpoints), v.description('when the estimate was made')),
  estimates: Count,
  mean_error_percent: v.number(),
  median_error_percent: v.number(),
  median_error_seconds: v.number(),
  bias_percent: v.pipe(v.number(), v.description('above 0: it took longer than was told')),
  within_interval_percent: v.number(),
})
type ReviewJson = v.InferOutput<typeof ReviewJson>

const AccuracyJson = v.object({
  jobs: Count,
  since: v.nullable(Time),
  checkpoints: v.array(ReviewJson),
  gpus: v.array(v.object({ gpu_id: Count, checkpoints: v.array(ReviewJson) })),
})
type AccuracyJson = v.InferOutput<typeof AccuracyJson>

const OutcomesJson = v.object({
  outcomes: v.array(
    v.object({
      job_id: Uuid,
      submitted_at: Time,
      eta_seconds: v.pipe(v.number(), v.description('what was told at the submission')),
      eta_p10_seconds: v.number(),
      eta_p90_seconds: v.number(),
      actual_seconds: v.number(),
    }),
  ),
})
type OutcomesJson = v.InferOutput<typeof OutcomesJson>

export type EtaRoutesOptions = Readonly<{
  eta: ActorRef<EtaMessage>
  history: Pick<History, 'estimates'>
}>

/** How far told times have been from what became true. */
export const etaRoutes = ({ eta, history }: EtaRoutesOptions) =>
  new Hono<ClientEnv>()
    .get(
      '/eta/next',
      route({
        id: 'estimateNextJob',
        access: 'client',
        tag: 'service',
        summary: 'Estimate a job before submitting it',
        details:
          'For a job with the usual frames and steps of the task. The estimate is `null` when no GPU takes jobs.',
        answers: { 200: { means: 'Place and estimate', json: NextJobJson } },
        refusals: ['service_busy'],
      }),
      async (c) => {
        const next = await ask(eta, { type: 'estimateNext' })
        if (!next) {
          const detail = 'The queue is being loaded. Try again in a moment.'
          throw new RefusalError('service_busy', detail)
        }
        const answer: NextJobJson = { queue_position: next.position, ...etaJson(next.estimate) }
        return c.json(answer, 200, { 'Cache-Control': 'no-store' })
      },
    )

    .get(
      '/eta/outcomes',
      route({
        id: 'listEtaOutcomes',
        access: 'client',
        tag: 'service',
        summary: 'What was told of the latest videos at their submission, and what became true',
        details: 'Of those that were made at the first attempt, the latest first.',
        query: OutcomesQuery,
        answers: { 200: { means: 'Each with both', json: OutcomesJson } },
      }),
      async (c) => {
        const kept = await history.estimates(c.req.valid('query').limit, c.var.scope)
        const answer: OutcomesJson = {
          outcomes: kept.map(({ jobId, at, p10, p50, p90, actual }) => ({
            job_id: jobId,
            submitted_at: new Date(at).toISOString(),
            eta_seconds: rounded(p50),
            eta_p10_seconds: rounded(p10),
            eta_p90_seconds: rounded(p90),
            actual_seconds: rounded(actual),
          })),
        }
        return c.json(answer, 200)
      },
    )

    .get(
      '/eta/accuracy',
      route({
        id: 'reviewEstimates',
        access: 'admin',
        tag: 'service',
        summary: 'How far told times have been from what became true',
        answers: { 200: { means: 'In all, and for each GPU', json: AccuracyJson } },
      }),
      async (c) => {
        const { jobs, since, checkpoints, gpus } = await ask(eta, { type: 'reviewEstimates' })
        const accuracy: AccuracyJson = {
          jobs,
          since: since === undefined ? null : new Date(since).toISOString(),
          checkpoints: reviewsJson(checkpoints),
          gpus: [...gpus].map(([gpu, reviews]) => ({
            gpu_id: gpu,
            checkpoints: reviewsJson(reviews),
          })),
        }
        return c.json(accuracy, 200)
      },
    )

const reviewsJson = (
  reviews: Readonly<Partial<Record<Checkpoint, CheckpointReview>>>,
): ReviewJson[] =>
  checkpoints.flatMap((checkpoint) => {
    const review = reviews[checkpoint]
    if (!review) return []
    return [
      {
        checkpoint,
        estimates: review.estimates,
        mean_error_percent: rounded(review.meanErrorPercent),
        median_error_percent: rounded(review.medianErrorPercent),
        median_error_seconds: rounded(review.medianErrorSeconds),
        bias_percent: rounded(review.biasPercent),
        within_interval_percent: rounded(review.withinPercent),
      },
    ]
  })

const rounded = (value: number): number => Math.round(value * 10) / 10
