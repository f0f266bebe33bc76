/** The parts of rows: moments and victims. */
import { setTimeout as delay } from 'node:timers/promises'
import type { PostgresServer } from '../postgres.ts'
import { type Cast, signal, type Victim } from './processes.ts'
import type { Random } from './random.ts'
import type { KeptService } from './service.ts'

/** Everything a row can see and strike. */
export type World = Readonly<{
  dataDir: string
  gpus: number
  random: Random
  service: KeptService
  /** Server of the database of the service; absent with SQLite. */
  postgres?: PostgresServer | undefined
  look(): Cast
  /** SIGKILL, and a note of what the victim had achieved by then. */
  kill(victim: Victim): boolean
}>

/** Waits for its moment and strikes once. False: there was nobody to be struck. */
export type Stroke = (world: World) => Promise<boolean>

export const nobodyMs = 10_000

/** Mostly while it serves, sometimes while it starts. */
export async function aMomentOfService(
  { service, random }: World,
  whileStarting = 0.2,
): Promise<void> {
  if (!random.chance(whileStarting)) await service.listening()
  await delay(random.between(0, 600))
}

/** `meanwhile` happens in the same turn. */
export async function killService({ service }: World, meanwhile?: () => void): Promise<boolean> {
  const victim = service.identity()
  const ended = service.expectEnd()
  const hit = victim !== undefined && signal(victim, 'SIGKILL')
  meanwhile?.()
  await ended
  return hit
}

/** One of a kind, at a random moment of its life. */
export async function killOne(
  world: World,
  kind: (cast: Cast) => readonly Victim[],
  latestMs = 400,
): Promise<boolean> {
  const { random } = world
  if (!(await someone(world, kind))) return false
  await delay(random.between(0, latestMs))
  const victim = random.pick(kind(world.look()))
  if (!victim || !world.kill(victim)) return false
  await delay(random.between(0, 200))
  return true
}

export async function someone(
  { look, random }: World,
  kind: (cast: Cast) => readonly Victim[],
): Promise<Victim | undefined> {
  for (const giveUpAt = Date.now() + nobodyMs; Date.now() < giveUpAt; await delay(10)) {
    const victim = random.pick(kind(look()))
    if (victim) return victim
  }
  return undefined
}
