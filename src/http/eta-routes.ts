import { Hono } from 'hono'
import * as v from 'valibot'
import { type ActorRef, ask } from '../actors/actor.ts'
import type { CheckpointReview, EtaMessage } from '../actors/eta/eta-protocol.ts'
import { type Checkpoint, checkpoints } from '../actors/ports.ts'
import type { ClientEnv } from './access.ts'
import { route } from './route.ts'
import { Count, Time } from './words.ts'

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

/** How far told times have been from what became true. */
export const etaRoutes = ({ eta }: Readonly<{ eta: ActorRef<EtaMessage> }>) =>
  new Hono<ClientEnv>().get(
    '/eta/accuracy',
    route({
      id: 'reviewEstimates',
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
