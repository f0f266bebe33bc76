/** Rows whose generations are forked from a template. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { forkServerOf, type Identity, isAlive, isFork, signal } from './processes.ts'
import {
  aMomentOfService,
  killOne,
  killService,
  nobodyMs,
  type Stroke,
  type World,
} from './strokes.ts'

/** A template takes a moment to load, for kills to hit it then. */
export const warmEnvironment: NodeJS.ProcessEnv = { WARM_START: 'auto', SIM_LOAD: '0.3' }

const maxStopMs = 10_000

/** It loads, and is probed as soon as a GPU has no generation. */
const maxReadyMs = 15_000

export const warmRows = {
  template: async (world) => {
    const { random } = world
    const moment = random.pick([whileBuilding, whileIdle, whileForking]) ?? whileIdle
    const template = await moment(world)
    const hit = template !== undefined && signal(template, 'SIGKILL')
    await delay(random.between(0, 800))
    return renew(world, hit)
  },

  /** It never goes on: the next order for a fork has to end it. */
  'template-stop': async (world) => {
    const template = await whileIdle(world)
    if (!template || !signal(template, 'SIGSTOP')) return renew(world, false)
    for (const giveUpAt = Date.now() + maxStopMs; isAlive(template); await delay(20)) {
      if (Date.now() > giveUpAt) break
    }
    return renew(world, true)
  },

  /** It waits, or is becoming a shim. One that is stopped goes on, for it may be a shim by then. */
  standby: async (world) => {
    const { random } = world
    const standby = await aStandby(world)
    if (random.chance(0.5)) await anAttempt(world)
    if (!standby || random.chance(0.7)) {
      const hit = standby !== undefined && signal(standby, 'SIGKILL')
      await delay(random.between(0, 800))
      return hit
    }
    const hit = signal(standby, 'SIGSTOP')
    await delay(random.between(0, 3_000))
    signal(standby, 'SIGCONT')
    return hit
  },

  'warm-shim': (world) => killOne(world, ({ shims }) => shims),
  'warm-generation': async (world) => {
    await aUsedTemplate(world)
    return killOne(world, ({ generations }) => generations.filter(isFork))
  },

  'warm-service': async (world) => {
    await aMomentOfWarmth(world)
    return killService(world)
  },

  'warm-fork-server': async (world) => {
    await aMomentOfWarmth(world)
    const server = await aForkServer(world)
    const hit = server !== undefined && signal(server, 'SIGKILL')
    await delay(world.random.between(0, 800))
    return renew(world, hit)
  },

  'warm-everything': async (world) => {
    await aMomentOfWarmth(world)
    const victim = world.service.identity()
    const server = victim && forkServerOf(victim)
    return killService(world, () => {
      const { templates, shims, generations } = world.look()
      for (const one of [...(server ? [server] : []), ...templates]) signal(one, 'SIGKILL')
      for (const one of [...generations, ...shims]) world.kill(one)
    })
  },
} satisfies Record<string, Stroke>

/** Mostly when generations are forked from a template, and sometimes before. */
async function aMomentOfWarmth(world: World): Promise<void> {
  if (world.random.chance(0.8)) await aUsedTemplate(world)
  else await aMomentOfService(world)
  await delay(world.random.between(0, 1_000))
}

/** Undefined when it takes too long, as when a probe has failed. */
async function aUsedTemplate({ look, service }: World): Promise<Identity | undefined> {
  for (const giveUpAt = Date.now() + maxReadyMs; Date.now() < giveUpAt; await delay(10)) {
    if (service.usesTemplate()) return look().templates[0]
  }
  return undefined
}

async function aStandby(world: World): Promise<Identity | undefined> {
  await aUsedTemplate(world)
  for (const giveUpAt = Date.now() + nobodyMs; Date.now() < giveUpAt; await delay(1)) {
    const [standby] = world.look().standbys
    if (standby) return standby
  }
  return undefined
}

/** It is started soon after the service. */
async function aForkServer({ service }: World): Promise<Identity | undefined> {
  for (const giveUpAt = Date.now() + nobodyMs; Date.now() < giveUpAt; await delay(10)) {
    const victim = service.identity()
    const server = victim && forkServerOf(victim)
    if (server) return server
  }
  return undefined
}

async function aTemplate({ look }: World): Promise<Identity | undefined> {
  for (const giveUpAt = Date.now() + nobodyMs; Date.now() < giveUpAt; await delay(10)) {
    const [template] = look().templates
    if (template) return template
  }
  return undefined
}

/** It builds no other for 10 s after one has died: a start does so at once. */
async function renew({ service }: World, hit: boolean): Promise<boolean> {
  await service.stop()
  await service.listening()
  return hit
}

/** Right after its start. */
async function whileBuilding(world: World): Promise<Identity | undefined> {
  const template = await aTemplate(world)
  await delay(world.random.between(0, 500))
  return template
}

async function whileIdle(world: World): Promise<Identity | undefined> {
  const template = await aUsedTemplate(world)
  await delay(world.random.between(0, 500))
  return template
}

/** An attempt has got its directory: it is forked next. */
async function whileForking(world: World): Promise<Identity | undefined> {
  const template = await aUsedTemplate(world)
  if (template) await anAttempt(world)
  return template
}

async function anAttempt({ dataDir, random }: World): Promise<void> {
  const before = attemptsIn(dataDir)
  for (const giveUpAt = Date.now() + nobodyMs; Date.now() < giveUpAt; await delay(1)) {
    if ([...attemptsIn(dataDir)].some((attempt) => !before.has(attempt))) break
  }
  await delay(random.between(0, 25))
}

/** With their epochs. */
function attemptsIn(dataDir: string): Set<string> {
  const work = join(dataDir, 'work')
  return new Set(readdirSync(work).flatMap((job) => epochsIn(join(work, job))))
}

function epochsIn(directory: string): string[] {
  try {
    return readdirSync(directory).map((epoch) => join(directory, epoch))
  } catch {
    return [] // The job has just ended.
  }
}
