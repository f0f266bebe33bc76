/**
 * Which jobs expire, in a world in which anything may come in between: fast-check makes up the stories,
 * the world (support/retention-world.ts) watches that exactly what should go goes.
 */
import fc from 'fast-check'
import { describe, it } from 'vitest'
import { createWorld, type World } from '../../support/retention-world.ts'

const day = 24 * 60 * 60_000

const which = fc.nat(30)
const ms = fc.oneof(
  fc.integer({ min: 0, max: 3 * day }),
  fc.nat(40).map((days) => days * day),
)

/** What clients do at any time, also while files are being removed. */
const wish = fc.oneof(
  fc.record({ do: fc.constant('pin' as const), which, pinned: fc.boolean() }),
  fc.record({ do: fc.constant('download' as const), which, begins: fc.boolean() }),
  fc.record({ do: fc.constant('replay' as const), which }),
)

const added = fc.record({
  do: fc.constant('add' as const),
  status: fc.constantFrom(
    'queued',
    'running',
    'success',
    'success',
    'success',
    'error',
    'canceled',
  ),
  bytes: fc.integer({ min: 1, max: 10 }),
  awaited: fc.nat(2).map((n) => n === 0),
})

const purge = fc.record({
  do: fc.constant('purge' as const),
  wish: fc.record(
    {
      olderThanMs: ms,
      status: fc.subarray(['success', 'error', 'canceled'] as const, { minLength: 1 }),
      maxBytes: fc.nat(60),
    },
    { requiredKeys: [] },
  ),
})

const step = fc.oneof(
  { weight: 8, arbitrary: added },
  { weight: 4, arbitrary: wish },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('wait' as const), ms }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('setClock' as const),
      days: fc.integer({ min: -60, max: 60 }),
    }),
  },
  { weight: 4, arbitrary: fc.constant({ do: 'tellAll' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'restart' as const }) },
  { weight: 3, arbitrary: fc.constant({ do: 'sweep' as const }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('disturbedSweep' as const),
      filesUntilCrash: fc.oneof(fc.nat(12), fc.constant(1_000)),
      early: wish,
      late: wish,
    }),
  },
  { weight: 1, arbitrary: purge },
)

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never
type Wish = typeof wish extends fc.Arbitrary<infer T> ? T : never

const limits = fc.record({
  retentionMs: fc.constantFrom(0, day, 7 * day, 30 * day),
  maxResultBytes: fc.constantFrom(0, 1, 15, 40),
  tombstoneMs: fc.constantFrom(0, day, 90 * day),
})

describe('what is over its time', () => {
  it('goes with all that belongs to it, exactly then, and nothing else does', async () => {
    const story = fc.array(step, { minLength: 5, maxLength: 60 })
    await fc.assert(
      fc.asyncProperty(limits, story, async (kept, steps) => {
        const world = await createWorld(kept)
        try {
          for (const one of steps) await happen(world, one)
          await world.sweep()
        } finally {
          await world.close()
        }
      }),
    )
  })
})

async function happen(world: World, one: Step): Promise<void> {
  const { may } = world
  switch (one.do) {
    case 'add':
      return may.add(one.status, one)
    case 'pin':
    case 'download':
    case 'replay':
      return wished(world, one)
    case 'wait':
      return may.wait(one.ms)
    case 'setClock':
      return may.setClock(one.days * day)
    case 'tellAll':
      return may.tellAll()
    case 'restart':
      return may.restart()
    case 'sweep':
      return world.sweep()
    case 'disturbedSweep':
      return world.disturbedSweep(
        one.filesUntilCrash,
        () => wished(world, one.early),
        () => wished(world, one.late),
      )
    case 'purge':
      return world.purge(one.wish)
  }
}

async function wished({ may }: World, one: Wish): Promise<void> {
  if (one.do === 'pin') await may.pin(one.which, one.pinned)
  else if (one.do === 'replay') await may.replay(one.which)
  else may.download(one.which, one.begins)
}
