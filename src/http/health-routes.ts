import { Hono } from 'hono'
import { type ActorRef, ask } from '../actors/actor.ts'
import type { Check } from '../actors/ports.ts'
import type { QueueMessage, QueueSummary } from '../actors/queue/queue-protocol.ts'
import type { SupervisorMessage } from '../actors/supervisor/supervisor-protocol.ts'

export type HealthRoutesOptions = Readonly<{
  queue: ActorRef<QueueMessage>
  supervisor: ActorRef<SupervisorMessage>
  version: string
  /** Whether the tools and files are there that a job needs. */
  installation(): Promise<readonly Check[]>
}>

/** Health: the service lives. Readiness: a job that came now would get somewhere. */
export const healthRoutes = ({ queue, supervisor, version, installation }: HealthRoutesOptions) =>
  new Hono()
    .get('/health', async (c) => {
      const children = await ask(supervisor, { type: 'whichChildren' })
      const givenUp = children.filter(({ phase }) => phase === 'given_up')
      return c.json({
        status: givenUp.length > 0 ? 'degraded' : 'ok',
        version,
        uptime_seconds: Math.floor(process.uptime()),
        given_up: givenUp.map(({ id, error }) => ({ id, error: error ?? null })),
      })
    })

    .get('/ready', async (c) => {
      const [queueNow, found] = await Promise.all([
        ask(queue, { type: 'describeQueue' }),
        installation(),
      ])
      const checks = [...queueChecks(queueNow), ...found]
      const ready = checks.every(({ ok }) => ok)
      return c.json({ ready, checks }, ready ? 200 : 503)
    })

function queueChecks({ open, hasRoom, usableGpus }: QueueSummary): Check[] {
  return [
    { name: 'queue', ok: open, detail: open ? 'open' : 'The service is stopping.' },
    {
      name: 'disk',
      ok: hasRoom,
      detail: hasRoom ? 'has room' : 'There is less room than MIN_FREE_DISK_MB: make some.',
    },
    {
      name: 'gpus',
      ok: usableGpus.length > 0,
      detail:
        usableGpus.length > 0
          ? `usable: ${usableGpus.join(', ')}`
          : 'Every GPU is down, drained or in quarantine; jobs wait. GET /gpus says why, POST /gpus/{id}/resume lifts it.',
    },
  ]
}
