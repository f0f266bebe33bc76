import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { dayMs } from '../../src/domain/time.ts'
import { postgresRows } from './postgres-rows.ts'
import { type Cast, forkServerOf, type Identity, signal, type Victim, writes } from './processes.ts'
import {
  aMomentOfService,
  killOne,
  killService,
  nobodyMs,
  type Stroke,
  someone,
  type World,
} from './strokes.ts'
import { warmEnvironment, warmRows } from './warm-rows.ts'

/** Who is struck, row by row. One kill is one moment, however many processes it takes. */
export const rows = {
  service: async (world) => {
    await aMomentOfService(world)
    return killService(world)
  },

  shim: (world) => killOne(world, ({ shims }) => shims),
  generation: (world) => killOne(world, ({ generations }) => generations),

  'service+shim': async (world) => {
    if (!(await someone(world, ({ shims }) => shims))) return false
    await delay(world.random.between(0, 400))
    const shim = world.random.pick(world.look().shims)
    const serviceFirst = world.random.chance(0.5)
    if (!serviceFirst && shim) world.kill(shim)
    const hit = await killService(world, () => serviceFirst && shim && world.kill(shim))
    return hit && shim !== undefined
  },

  /** Also while something is just being started by it. */
  'fork-server': async (world) => {
    const { random, service } = world
    if (!(await someone(world, ({ shims, conversions }) => [...shims, ...conversions])))
      return false
    await delay(random.between(0, 400))
    const victim = service.identity()
    const server = victim && forkServerOf(victim)
    return server !== undefined && signal(server, 'SIGKILL')
  },

  /** As when a container ends. */
  everything: async (world) => {
    await aMomentOfService(world)
    return killService(world, () => {
      const { shims, generations } = world.look()
      for (const victim of [...generations, ...shims]) world.kill(victim)
    })
  },

  'gpu-actor': (world) => crashActor(world, gpuNames(world)),
  'queue-actor': (world) => crashActor(world, ['queue']),
  'archive-actor': (world) => crashActor(world, ['archive']),

  'stop-cont': async (world) => {
    const { random, service } = world
    await delay(random.between(0, 300))
    const kind = random.pick(['service', 'shims', 'generations'] as const)
    const victim: Identity | undefined =
      kind === 'service' || kind === undefined
        ? service.identity()
        : await someone(world, (cast) => cast[kind])
    if (!victim || !signal(victim, 'SIGSTOP')) return false
    await delay(random.between(50, 800))
    signal(victim, 'SIGCONT')
    return true
  },

  ffmpeg: (world) => killOne(world, ({ conversions }) => conversions, 120),

  /** A conversion that outlives its service, and goes on when the next one has made its own. */
  'late-ffmpeg': async (world) => {
    const { random } = world
    const isWriting = (cast: Cast) => cast.conversions.filter(writes)
    if (!(await someone(world, isWriting))) return false
    await delay(random.between(0, 40))
    const late = isWriting(world.look()).filter((victim) => signal(victim, 'SIGSTOP'))
    if (late.length === 0) return false
    const hit = await killService(world)
    await another(world, late)
    await delay(random.between(0, 300))
    for (const victim of late) signal(victim, 'SIGCONT')
    return hit
  },

  /** The clock of the service is set, and that of its generations is not; some starts find it set. */
  clock: async (world) => {
    const { dataDir, random } = world
    await delay(random.between(0, 400))
    const setByMs = random.between(-2 * dayMs, 9 * dayMs)
    writeFileSync(clockOf(dataDir), String(setByMs))
    if (random.chance(0.1)) {
      await aMomentOfService(world)
      await killService(world)
    }
    return true
  },

  sigterm: async (world) => {
    await aMomentOfService(world, 0)
    await world.service.stop()
    return true
  },

  ...warmRows,
  ...postgresRows,
} satisfies Record<string, Stroke>

/** What a row needs of its service beyond what all have. */
export function environmentOfRow(row: RowName, dataDir: string): NodeJS.ProcessEnv {
  if (row in warmRows) return warmEnvironment
  // All jobs are over their time between one step and another.
  return row === 'clock' ? { STEPPED_CLOCK: clockOf(dataDir), RETENTION_DAYS: '10' } : {}
}

const clockOf = (dataDir: string): string => join(dataDir, 'clock')

export const needsPostgres = (row: RowName): boolean => row in postgresRows

export type RowName = keyof typeof rows
export const rowNames = Object.keys(rows) as RowName[]

/** Resolves when other conversions of the same attempts have come and gone. */
async function another({ look }: World, late: readonly Victim[]): Promise<void> {
  let came = false
  for (const giveUpAt = Date.now() + nobodyMs; Date.now() < giveUpAt; await delay(10)) {
    const others = look().conversions.filter(({ attempt, pid }) =>
      late.some((victim) => victim.attempt === attempt && victim.pid !== pid),
    )
    if (came && others.length === 0) return
    came ||= others.length > 0
  }
}

/** An actor that has fallen often waits long, so a service with a past is exchanged for a new one. */
async function crashActor(world: World, names: readonly string[]): Promise<boolean> {
  const { dataDir, random, service } = world
  await service.listening()
  await delay(random.between(0, 500))
  const name = random.pick(names) ?? 'queue'
  const before = service.crashes().filter(({ actor }) => actor === name)
  if (before.length >= random.between(1, 3)) {
    await service.stop()
    await service.listening()
    await delay(random.between(0, 500))
  } else
    await delay(Math.max(0, (before.at(-1)?.againAt ?? 0) - Date.now()) + random.between(20, 400))
  writeFileSync(join(dataDir, 'crash'), name)
  return service.crash(name, (pid) => process.kill(pid, 'SIGUSR2'))
}

const gpuNames = ({ gpus }: World): string[] =>
  Array.from({ length: gpus }, (_, gpu) => `gpu-${gpu}`)
