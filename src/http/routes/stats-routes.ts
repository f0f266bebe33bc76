import { Hono } from 'hono'
import * as v from 'valibot'
import type { Machines } from '../../actors/node/machines.ts'
import type { History, LoadingCost } from '../../domain/history.ts'
import { wallNow } from '../../domain/time.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { StatsQuery } from '../request/parameters.ts'
import { route } from '../request/route.ts'
import { Count, Time } from '../views/words.ts'

export type StatsRoutesOptions = Readonly<{
  history: Pick<History, 'load' | 'loadingCost'>
  machines: Pick<Machines, 'gpus'>
}>

/** As fine as a chart can show. */
const steps = 96

const LoadingJson = v.object({
  cold: v.object({
    starts: v.pipe(Count, v.description('generations that loaded everything themselves')),
    gpu_seconds: v.pipe(v.number(), v.description('time from their claim until they had loaded')),
  }),
  warm: v.object({
    starts: v.pipe(Count, v.description('generations that were forked from a template')),
    gpu_seconds: v.number(),
    gpu_seconds_if_cold: v.pipe(
      v.nullable(v.number()),
      v.description(
        'time that the same starts would have taken cold, by the median of cold runs of the same task; null without such runs, and without warm starts',
      ),
    ),
  }),
  cold_runs: v.pipe(
    Count,
    v.description('cold runs that the comparison rests on, 200 per task at most'),
  ),
  unknown: v.pipe(
    Count,
    v.description(
      'generations without known start or without a known end of loading; they count nowhere else',
    ),
  ),
})

const StatsJson = v.object({
  from: Time,
  to: Time,
  step_seconds: v.number(),
  waiting: v.pipe(
    v.array(Count),
    v.description('how many jobs waited at the end of each step, the oldest first'),
  ),
  gpus: v.array(
    v.object({
      gpu_id: Count,
      busy: v.pipe(
        v.array(v.pipe(v.number(), v.minValue(0), v.maxValue(1))),
        v.description('for how much of each step it had a generation'),
      ),
    }),
  ),
  loading: v.pipe(
    LoadingJson,
    v.description(
      'GPU time that importing and loading took, of generations that ended in this time',
    ),
  ),
})
type StatsJson = v.InferOutput<typeof StatsJson>

const loadingJson = ({ cold, warm, coldRuns, unknown }: LoadingCost): StatsJson['loading'] => ({
  cold: { starts: cold.starts, gpu_seconds: cold.ms / 1000 },
  warm: {
    starts: warm.starts,
    gpu_seconds: warm.ms / 1000,
    gpu_seconds_if_cold: warm.coldMs === undefined ? null : warm.coldMs / 1000,
  },
  cold_runs: coldRuns,
  unknown,
})

/** How busy the service has been. */
export const statsRoutes = ({ history, machines }: StatsRoutesOptions) =>
  new Hono<ClientEnv>().get(
    '/stats',
    route({
      id: 'getStats',
      access: 'admin',
      tag: 'service',
      summary:
        'How many jobs waited, how busy each GPU was, and what loading took, over the last hours',
      query: StatsQuery,
      answers: { 200: { means: `${steps} steps up to now`, json: StatsJson } },
    }),
    async (c) => {
      const stepMs = (c.req.valid('query').hours * 3_600_000) / steps
      const to = wallNow()
      const from = to - steps * stepMs
      const [{ waiting, busy }, loading] = await Promise.all([
        history.load({ from, stepMs, steps }),
        history.loadingCost({ from, to }),
      ])
      const stats: StatsJson = {
        from: new Date(from).toISOString(),
        to: new Date(to).toISOString(),
        step_seconds: stepMs / 1000,
        waiting: [...waiting],
        gpus: machines.gpus().map(({ id }) => ({ gpu_id: id, busy: busyShares(id) })),
        loading: loadingJson(loading),
      }
      return c.json(stats, 200)

      function busyShares(id: number): number[] {
        const shares = [...busy].find(([gpu]) => gpu === id)?.[1] ?? new Array(steps).fill(0)
        return shares.map((share) => Math.round(share * 1000) / 1000)
      }
    },
  )
