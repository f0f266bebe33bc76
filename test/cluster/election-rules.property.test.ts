import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  isCertain,
  type LeaderRow,
  mayClaim,
  watchLeader,
} from '../../src/cluster/election-rules.ts'
import type { Watch } from '../../src/cluster/watch.ts'

const lostMs = 3_000
const names = ['a', 'b', 'c'] as const

type Turn = Readonly<{
  node: number
  afterMs: number
  takesMs: number
  /** The database does not carry it out; or it does, and the answer is lost. */
  fails: 'before' | 'after' | undefined
}>

type Happening =
  | Readonly<{ type: 'turn' } & Turn>
  | Readonly<{ type: 'freeze'; node: number; ms: number }>
  | Readonly<{ type: 'restart' | 'stop' | 'wake'; node: number }>
  | Readonly<{ type: 'resign'; node: number }>

const node = fc.nat(names.length - 1)
const turn: fc.Arbitrary<Happening> = fc.record({
  type: fc.constant('turn' as const),
  node,
  afterMs: fc.nat(400),
  takesMs: fc.nat(200),
  fails: fc.oneof(
    { weight: 20, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.constantFrom('before' as const, 'after' as const) },
  ),
})
const story: fc.Arbitrary<Happening[]> = fc.array(
  fc.oneof(
    { weight: 20, arbitrary: turn },
    {
      weight: 1,
      arbitrary: fc.record({ type: fc.constant('freeze' as const), node, ms: fc.nat(8_000) }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ type: fc.constantFrom('stop' as const, 'wake', 'restart'), node }),
    },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('resign' as const), node }) },
  ),
  { minLength: 60, maxLength: 200, size: 'max' },
)

describe('an election, whatever is lost, frozen or started again', () => {
  it('has terms that grow, and one node for each', () => {
    fc.assert(
      fc.property(story, (happenings) => {
        const world = aWorld()
        for (const happening of happenings) world.happen(happening)
        const { leads } = world
        for (const [index, { term }] of leads.entries()) {
          expect(term).toBeGreaterThan(leads[index - 1]?.term ?? 0)
        }
      }),
    )
  })

  it('replaces no leader whose beat moved within the time after which it counts as lost', () => {
    fc.assert(
      fc.property(story, (happenings) => {
        const world = aWorld()
        for (const happening of happenings) world.happen(happening)
        for (const { stoodStillMs } of world.replaced) {
          expect(stoodStillMs).toBeGreaterThanOrEqual(lostMs)
        }
      }),
    )
  })

  it('leaves no node certain that it leads after another has been elected', () => {
    fc.assert(
      fc.property(story, (happenings) => {
        const world = aWorld()
        for (const happening of happenings) {
          world.happen(happening)
          const certain = world.certainLeaders()
          expect(certain.filter(({ term }) => term !== world.row().term)).toEqual([])
        }
      }),
    )
  })
})

type Node = {
  home: string
  /** Stopped by a signal: it does nothing, and does not know it. */
  isStopped?: boolean
  term?: number
  seen?: Watch | undefined
  confirmedAt?: number
}

/** Nodes that act by the rules on one row, with time that only the story moves. */
function aWorld() {
  let now = 0
  let row: LeaderRow = { term: 0, node: '', home: '', beat: 0 }
  let movedAt = 0
  const nodes: Node[] = names.map((name) => ({ home: `home of ${name}` }))
  const leads: { node: string; term: number }[] = []
  const replaced: { stoodStillMs: number }[] = []

  return {
    leads,
    replaced,
    row: () => row,
    certainLeaders: () =>
      nodes.flatMap(({ term, confirmedAt }) =>
        term !== undefined && isCertain(confirmedAt, now, lostMs) ? [{ term }] : [],
      ),
    happen(happening: Happening) {
      const self = nodes[happening.node] as Node
      const name = names[happening.node] as string
      if (happening.type === 'freeze') now += happening.ms
      if (happening.type === 'restart') nodes[happening.node] = { home: self.home }
      if (happening.type === 'resign' && self.term !== undefined) {
        if (self.term === row.term) change({ ...row, node: '', home: '', beat: row.beat + 1 })
        nodes[happening.node] = { home: self.home }
      }
      if (happening.type === 'stop') self.isStopped = true
      if (happening.type === 'wake') self.isStopped = false
      if (happening.type !== 'turn') return
      if (self.isStopped) now += happening.afterMs
      else take(self, name, happening)
    },
  }

  function take(self: Node, name: string, { afterMs, takesMs, fails }: Turn): void {
    now += afterMs
    const askedAt = now
    now += takesMs / 2
    if (fails === 'before') {
      self.seen = undefined
      now += takesMs / 2
      return
    }
    const isHeard = fails === undefined
    if (self.term === undefined) look(self, name, askedAt, takesMs / 2, isHeard)
    else renew(self, self.term, askedAt, isHeard)
    if (!isHeard) self.seen = undefined
  }

  function renew(self: Node, term: number, askedAt: number, isHeard: boolean): void {
    const holds = row.term === term
    if (holds) change({ ...row, beat: row.beat + 1 })
    if (!isHeard) return
    if (holds) self.confirmedAt = askedAt
    else Reflect.deleteProperty(self, 'term')
  }

  function look(self: Node, name: string, askedAt: number, waitMs: number, isHeard: boolean): void {
    const sight = row
    now += waitMs
    self.seen = watchLeader(self.seen, sight, { askedAt, answeredAt: now }, lostMs)
    const me = { name, home: self.home }
    if (!mayClaim(me, sight, self.seen, lostMs)) return
    // Nothing else happens between look and claim here; the condition of the claim is that of the database.
    if (sight.node !== '' && sight.node !== name) replaced.push({ stoodStillMs: now - movedAt })
    change({ term: row.term + 1, node: name, home: self.home, beat: 0 })
    if (!isHeard) return
    self.term = row.term
    self.confirmedAt = askedAt
    leads.push({ node: name, term: row.term })
  }

  function change(next: LeaderRow): void {
    row = next
    movedAt = now
  }
}
