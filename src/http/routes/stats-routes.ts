import { Hono } from 'hono'
import * as v from 'valibot'
import type { History } from '../../domain/history.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { StatsQuery } from '../request/parameters.ts'
import { route } from '../request/route.ts'
import { Count, Time } from '../views/words.ts'

export type StatsRoutesOptions = Readonly<{
  history: Pick<History, 'load'>
  gpus: readonly Readonly<{ id: number }>[]
}>

/** As fine as a chart can show. */
const steps = 96

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
})
type StatsJson = v.InferOutput<typeof StatsJson>

/** How busy the service has been. */
export const statsRoutes = ({ history, gpus }: StatsRoutesOptions) =>
  new Hono<ClientEnv>().get(
    '/stats',
    route({
      id: 'getStats',
      access: 'admin',
      tag: 'service',
      summary: 'How many jobs waited, and how busy each GPU was, over the last hours',
      query: StatsQuery,
      answers: { 200: { means: `${steps} steps up to now`, json: StatsJson } },
    }),
    async (c) => {
      const stepMs = (c.req.valid('query').hours * 3_600_000) / steps
      const to = Date.now()
      const from = to - steps * stepMs
      const { waiting, busy } = await history.load({ from, stepMs, steps })
      const stats: StatsJson = {
        from: new Date(from).toISOString(),
        to: new Date(to).toISOString(),
        step_seconds: stepMs / 1000,
        waiting: [...waiting],
        gpus: gpus.map(({ id }) => ({ gpu_id: id, busy: busyShares(id) })),
      }
      return c.json(stats, 200)

      function busyShares(id: number): number[] {
        const shares = [...busy].find(([gpu]) => gpu === id)?.[1] ?? new Array(steps).fill(0)
        return shares.map((share) => Math.round(share * 1000) / 1000)
      }
    },
  )
