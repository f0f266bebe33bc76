import { describe, expect, it } from 'vitest'
import { tell } from '../../../src/actors/actor.ts'
import type { EtaMessage, NextJob } from '../../../src/actors/eta/eta-protocol.ts'
import { etaRoutes } from '../../../src/http/routes/eta-routes.ts'
import { anActor, midnight } from '../../support/jobs.ts'

/** The route in front of estimates that answer this. */
function nextJobIs(next: NextJob | undefined) {
  const { ref: eta } = anActor<null, EtaMessage>('eta', {
    init: () => null,
    receive(state, message) {
      if (message.type === 'estimateNext') tell(message.replyTo, next)
      return state
    },
  })
  return etaRoutes({ eta, history: { estimates: async () => [] } })
}

describe('GET /eta/next', () => {
  it('names place and estimate of a job that would be submitted now', async () => {
    const told = { p10: 60.2, p50: 72.4, p90: 90.1, etaAt: midnight, progress: 0 }
    const routes = nextJobIs({ position: 13, estimate: { ...told, source: 'history' } })
    const answer = await routes.request('/eta/next')
    expect(answer.status).toBe(200)
    expect(answer.headers.get('Cache-Control')).toBe('no-store')
    expect(await answer.json()).toEqual({
      queue_position: 13,
      eta_seconds: 72,
      eta_p10_seconds: 60,
      eta_p90_seconds: 90,
      eta_at: new Date(midnight).toISOString(),
      eta_source: 'history',
    })
  })

  it('has no estimate when no GPU takes jobs', async () => {
    const answer = await nextJobIs({ position: 1 }).request('/eta/next')
    expect(await answer.json()).toMatchObject({ queue_position: 1, eta_seconds: null })
  })
})
