import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  chooseDeliveries,
  dueFilter,
  type Flight,
  maxStandings,
  type Standing,
  type Standings,
  withStanding,
} from '../../../src/actors/webhook/dispatch-rules.ts'
import type { DueDelivery } from '../../../src/actors/webhook/webhook-ports.ts'
import { type DeliveryId, newDeliveryId, newWebhookId } from '../../../src/domain/webhook.ts'
import { midnight } from '../../support/jobs.ts'

const due = (party: string, receiver: string): DueDelivery => ({
  id: newDeliveryId(),
  webhookId: newWebhookId(),
  event: 'job.success',
  createdAt: midnight,
  since: midnight,
  attempts: 0,
  url: `https://${receiver}/`,
  receiver,
  owner: party,
  registeredBy: [party],
  party,
  line: `${party} ${receiver}`,
  secrets: [],
})

const choose = (
  deliveries: readonly DueDelivery[],
  {
    inFlight = new Map(),
    standings = new Map(),
  }: { inFlight?: ReadonlyMap<DeliveryId, Flight>; standings?: Standings } = {},
) => chooseDeliveries(deliveries, inFlight, standings, midnight)

const proven: Standing = { is: 'proven' }
const failing: Standing = { is: 'failing', until: midnight }
const paused: Standing = { is: 'failing', until: midnight + 1 }

const anyDue = fc
  .record({ party: fc.constantFrom('anna', 'bert', 'carl'), receiver: fc.nat(30) })
  .map(({ party, receiver }) => due(party, `r${receiver}`))

const anyStandings = fc
  .array(
    fc.tuple(
      fc.constantFrom('anna', 'bert', 'carl'),
      fc.nat(30),
      fc.constantFrom(proven, failing, paused),
    ),
  )
  .map((all) => new Map(all.map(([party, n, one]) => [`${party} r${n}`, one])))

const limits = {
  proven: { all: 24, party: 16, line: 4 },
  untried: { all: 136, party: 104, line: 1 },
  failing: { all: 16, party: 8, line: 1 },
}

describe('connections', () => {
  it('keep to all limits, leave nobody out that has room, and go to no paused receiver', () => {
    fc.assert(
      fc.property(
        fc.array(anyDue, { maxLength: 120 }),
        fc.array(anyDue, { maxLength: 120 }),
        anyStandings,
        (earlier, later, standings) => {
          const flying = new Map<DeliveryId, Flight>()
          for (const round of [earlier, later])
            for (const { delivery, ...flight } of choose(round, { inFlight: flying, standings }))
              flying.set(delivery.id, flight)
          const flights = [...flying.values()]
          const used = ({ lane, party, line }: Flight) => ({
            all: flights.filter((one) => one.lane === lane).length,
            party: flights.filter((one) => one.lane === lane && one.party === party).length,
            line: flights.filter((one) => one.line === line).length,
          })
          for (const flight of flights) {
            const { all, party, line } = used(flight)
            expect(all).toBeLessThanOrEqual(limits[flight.lane].all)
            expect(party).toBeLessThanOrEqual(limits[flight.lane].party)
            expect(line).toBeLessThanOrEqual(limits[flight.lane].line)
          }
          for (const { id, party, line } of later) {
            const lane = standings.get(line)?.is ?? 'untried'
            const isPaused = standings.get(line) === paused
            const now = used({ id, party, line, lane })
            const isFull =
              now.all >= limits[lane].all ||
              now.party >= limits[lane].party ||
              now.line >= limits[lane].line
            if (isPaused) expect(flying.has(id)).toBe(false)
            else if (!isFull) expect(flying.has(id)).toBe(true)
          }
        },
      ),
    )
  })

  it('are dealt out one by one, to the client with the fewest of them', () => {
    fc.assert(
      fc.property(fc.array(anyDue, { maxLength: 200 }), (all) => {
        const chosen = choose(all)
        const counts = new Map<string, number>()
        for (const { party } of chosen) {
          const mine = counts.get(party) ?? 0
          for (const other of ['anna', 'bert', 'carl']) {
            const theirs = counts.get(other) ?? 0
            const waits = all.some(
              (one) => one.party === other && !chosen.some(({ line }) => line === one.line),
            )
            if (waits && theirs < limits.untried.party) expect(mine).toBeLessThanOrEqual(theirs)
          }
          counts.set(party, mine + 1)
        }
      }),
    )
  })

  it('of one lane are left alone by the other lanes', () => {
    const standings = new Map<string, Standing>([
      ['anna good', proven],
      ...Array.from({ length: 50 }, (_, n) => [`anna bad${n}`, failing] as const),
    ])
    const bad = Array.from({ length: 50 }, (_, n) => due('anna', `bad${n}`))
    const unknown = Array.from({ length: 300 }, (_, n) => due('anna', `new${n}`))
    const good = due('anna', 'good')
    const chosen = choose([...bad, ...unknown, good], { standings })
    expect(chosen.map(({ id }) => id)).toContain(good.id)
    expect(chosen).toHaveLength(limits.failing.party + limits.untried.party + 1)
  })

  it('reach every client within one attempt, however many receivers of the others hang', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.nat(100), (attackers, receivers) => {
        const attacks = Array.from({ length: attackers }, (_, n) =>
          Array.from({ length: receivers }, (_, m) => due(`attacker ${n}`, `hangs ${n} ${m}`)),
        ).flat()
        const honest = due('honest', 'works')
        const first = choose(attacks)
        // All of them hang up to their deadline, and then the next ones are chosen.
        const isSentAtOnce = choose([...attacks, honest], {
          inFlight: new Map(first.map(({ delivery, ...flight }) => [delivery.id, flight])),
        }).some(({ id }) => id === honest.id)
        const sent = new Set(first.map(({ id }) => id))
        const rest = attacks.filter(({ id }) => !sent.has(id))
        const isSentNext = choose([...rest, honest]).some(({ id }) => id === honest.id)
        expect(isSentAtOnce || isSentNext).toBe(true)
        if (attackers === 1) expect(isSentAtOnce).toBe(true)
      }),
    )
  })
})

describe('what is read from the store', () => {
  it('leaves out paused receivers and those with as many connections as they may have', () => {
    const standings = new Map<string, Standing>([
      ['anna p', paused],
      ['anna f', failing],
      ['anna g', proven],
    ])
    const flying = (receiver: string): [DeliveryId, Flight] => {
      const { id, party, line } = due('anna', receiver)
      return [id, { id, party, line, lane: standings.get(line)?.is ?? 'untried' }]
    }
    const inFlight = new Map([flying('g'), flying('g'), flying('new')])
    expect(dueFilter(inFlight, standings, midnight)).toMatchObject({
      inFlight: [...inFlight.keys()],
      notTo: ['anna p', 'anna new'],
      lanes: [['anna g'], ['anna p', 'anna f']],
    })
  })
})

describe('what is known of receivers', () => {
  it('is bounded: the one that was tried longest ago is forgotten', () => {
    let standings: Standings = new Map()
    for (let n = 0; n < maxStandings; n += 1) standings = withStanding(standings, `r${n}`, proven)
    standings = withStanding(standings, 'r0', failing)
    standings = withStanding(standings, 'one more', failing)
    expect(standings.size).toBe(maxStandings)
    expect(standings.has('r1')).toBe(false)
    expect(standings.get('r0')).toEqual(failing)
    expect(withStanding(standings, 'r0', undefined).has('r0')).toBe(false)
  })
})
