import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type ClusterNode,
  forgetSights,
  type MemberEvent,
  type Members,
  markLost,
  type NodeState,
  observeNodes,
} from '../../src/cluster/member-rules.ts'
import { aDescription } from '../support/cluster/members.ts'

const lostMs = 10_000
const leftMs = 25_000
const names = ['leader', 'a', 'b'] as const

const happening = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      type: fc.constant('look' as const),
      afterMs: fc.nat(3_000),
      /** Nodes that have beaten since the last look. */
      beating: fc.subarray([...names]),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constantFrom(
        'start' as const,
        'leave' as const,
        'remove' as const,
        'wake' as const,
        'die' as const,
      ),
      name: fc.constantFrom(...names),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ type: 'fail' as const }) },
)
const story = fc.array(happening, { minLength: 20, maxLength: 120, size: 'max' })

describe('a watch over nodes, whatever they do', () => {
  it('reports events that add up to the state of each node', () => {
    fc.assert(
      fc.property(story, (happenings) => {
        const world = aWorld()
        for (const next of happenings) {
          world.happen(next)
          const known = [...world.members()].map(([name, { phase }]) => [name, phase])
          expect(known.toSorted()).toEqual([...replay(world.events)].toSorted())
        }
      }),
    )
  })

  it('counts no node as lost that moved within the time, and not itself', () => {
    fc.assert(
      fc.property(story, (happenings) => {
        const world = aWorld()
        for (const next of happenings) world.happen(next)
        for (const { name, state, stoodStillMs } of world.losses) {
          expect(stoodStillMs).toBeGreaterThanOrEqual(state === 'left' ? leftMs : lostMs)
          expect(name).not.toBe('leader')
        }
      }),
    )
  })

  it('reports the state of each node, and the session of each that works', () => {
    fc.assert(
      fc.property(story, (happenings) => {
        const world = aWorld()
        for (const next of happenings) world.happen(next)
        world.happen({ type: 'look', afterMs: 1, beating: [] })
        for (const { name, session, state } of world.nodes()) {
          const phase = world.members().get(name)?.phase
          expect(state === 'left' ? ['left', 'lost'] : [state]).toContain(phase)
          if (state !== 'present') continue
          const news = world.events.filter(({ node }) => node.name === name)
          expect(news.at(-1)?.node.session).toBe(session)
        }
      }),
    )
  })
})

type Happening = typeof happening extends fc.Arbitrary<infer T> ? T : never

const phases: Readonly<Record<MemberEvent['type'], NodeState | undefined>> = {
  joined: 'present',
  returned: 'present',
  changed: 'present',
  left: 'left',
  lost: 'lost',
  removed: undefined,
}

function replay(events: readonly MemberEvent[]): ReadonlyMap<string, NodeState> {
  const states = new Map<string, NodeState>()
  for (const { type, node } of events) {
    const phase = phases[type]
    // A node that is known does not join, and an unknown one does nothing else.
    if (type === 'joined') expect(states.has(node.name)).toBe(false)
    if (type === 'returned') expect(states.has(node.name)).toBe(true)
    if (type === 'lost') expect(states.get(node.name)).not.toBe('lost')
    if (phase) states.set(node.name, phase)
    else states.delete(node.name)
  }
  return states
}

/** Nodes that start, beat, die and come back, and a leader that looks at them. */
function aWorld() {
  let now = 0
  let members: Members = new Map()
  const rows = new Map<string, ClusterNode>()
  const movedAt = new Map<string, number>()
  const events: MemberEvent[] = []
  const losses: { name: string; state: NodeState; stoodStillMs: number }[] = []
  const set = (node: ClusterNode) => {
    rows.set(node.name, node)
    movedAt.set(node.name, now)
  }

  return {
    events,
    losses,
    members: () => members,
    nodes: () => [...rows.values()],
    happen(next: Happening) {
      if (next.type === 'fail') members = forgetSights(members)
      else if (next.type === 'look') look(next.afterMs, next.beating)
      else act(next.type, next.name)
    },
  }

  function act(what: 'start' | 'leave' | 'remove' | 'wake' | 'die', name: string): void {
    const row = rows.get(name)
    const session = (row?.session ?? 0) + 1
    const started: ClusterNode = {
      ...aDescription,
      ...{ name, home: name, session, state: 'present', beat: 0 },
    }
    if (what === 'start') set(started)
    if (!row) return
    if (what === 'leave' && row.state === 'present') rows.set(name, { ...row, state: 'left' })
    if (what === 'remove') rows.delete(name)
    if (what === 'wake' && row.state === 'lost')
      set({ ...row, state: 'present', beat: row.beat + 1 })
  }

  function look(afterMs: number, beating: readonly string[]): void {
    now += afterMs
    for (const name of beating) {
      const row = rows.get(name)
      if (row?.state === 'present') set({ ...row, beat: row.beat + 1 })
    }
    const times = { askedAt: now, answeredAt: now + 5 }
    const step = observeNodes(members, [...rows.values()], times, { me: 'leader', lostMs, leftMs })
    members = step.members
    events.push(...step.events)
    now += 5
    for (const node of step.suspects) {
      losses.push({
        name: node.name,
        state: node.state,
        stoodStillMs: now - (movedAt.get(node.name) ?? now),
      })
      const state = node.state === 'present' ? 'lost' : node.state
      rows.set(node.name, { ...node, session: node.session + 1, state })
      const marked = markLost(members, node)
      members = marked.members
      events.push(...marked.events)
    }
  }
}
