/** Rows whose service stores its jobs in PostgreSQL. */
import { setTimeout as delay } from 'node:timers/promises'
import { aMomentOfService, killService, type Stroke, type World } from './strokes.ts'

export const postgresRows = {
  /** Mostly for a moment, sometimes for longer than a change waits. */
  postgres: async (world) => {
    const { random, service, postgres } = world
    if (!postgres) return false
    await service.listening()
    await delay(random.between(0, 800))
    await postgres.stop('SIGKILL')
    await delay(aWhile(world))
    await postgres.startAgain()
    return true
  },

  'postgres-stop': async (world) => {
    const { random, service, postgres } = world
    if (!postgres) return false
    await service.listening()
    await delay(random.between(0, 800))
    postgres.signal('SIGSTOP')
    await delay(aWhile(world))
    postgres.signal('SIGCONT')
    return true
  },

  'service+postgres': async (world) => {
    const { postgres } = world
    await aMomentOfService(world)
    const down = postgres?.stop('SIGKILL')
    const hit = await killService(world)
    await down
    await delay(aWhile(world))
    await postgres?.startAgain()
    return hit
  },
} satisfies Record<string, Stroke>

const aWhile = ({ random }: World): number =>
  random.chance(0.8) ? random.between(0, 1_000) : random.between(3_000, 8_000)
