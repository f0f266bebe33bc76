import { Hono } from 'hono'
import { type ActorRef, ask } from '../actors/actor.ts'
import type { CheckpointReview, EtaMessage } from '../actors/eta/eta-protocol.ts'
import { type Checkpoint, checkpoints } from '../actors/ports.ts'

/** How far told times have been from what became true. */
export const etaRoutes = ({ eta }: Readonly<{ eta: ActorRef<EtaMessage> }>) =>
  new Hono().get('/eta/accuracy', async (c) => {
    const { jobs, since, checkpoints, gpus } = await ask(eta, { type: 'reviewEstimates' })
    return c.json({
      jobs,
      since: since === undefined ? null : new Date(since).toISOString(),
      checkpoints: reviewsJson(checkpoints),
      gpus: [...gpus].map(([gpu, reviews]) => ({ gpu_id: gpu, checkpoints: reviewsJson(reviews) })),
    })
  })

const reviewsJson = (reviews: Readonly<Partial<Record<Checkpoint, CheckpointReview>>>) =>
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
