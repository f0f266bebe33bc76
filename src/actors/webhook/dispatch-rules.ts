/**
 * Which of the due deliveries are sent now. Connections are divided into lanes by what is known of a
 * receiver, and each lane is shared fairly between the clients that registered the webhooks. No
 * number of receivers that hang keeps the deliveries to working receivers from being sent.
 */
import type { DeliveryId } from '../../domain/webhook.ts'
import type { Steady } from './delivery-clock.ts'
import type { DueDelivery, DueFilter } from './webhook-ports.ts'

/** `proven`: its last response was quick and 2xx. `failing`: its last attempt is to be repeated. */
export type Lane = 'proven' | 'untried' | 'failing'

/** A delivery that is being sent or written down. */
export type Flight = Readonly<Pick<DueDelivery, 'id' | 'party' | 'line'> & { lane: Lane }>

/** `failing`: left alone until then. */
export type Standing = Readonly<{ is: 'proven' } | { is: 'failing'; until: Steady }>

/** By line: a receiver as one client reaches it. Another client's failures say nothing about it. */
export type Standings = ReadonlyMap<DueDelivery['line'], Standing>

type Limits = Readonly<{ maxAtOnce: number; maxPerParty: number; maxPerLine: number }>

/**
 * A lane has room for others when one client fills its share. One client's share of the untried lane
 * has room for all of its 100 webhooks, so that those that hang delay none that works.
 */
const lanes: Readonly<Record<Lane, Limits>> = {
  proven: { maxAtOnce: 24, maxPerParty: 16, maxPerLine: 4 },
  untried: { maxAtOnce: 136, maxPerParty: 104, maxPerLine: 1 },
  failing: { maxAtOnce: 16, maxPerParty: 8, maxPerLine: 1 },
}

/** More are not read at once. */
const maxDueOfLine = 4
const maxDueOfParty = 128

/** A slower response keeps a receiver at one connection. */
export const maxQuickMs = 5_000

/** Receivers that are remembered. A forgotten one counts as untried, which costs it three connections. */
export const maxStandings = 2_000

/** A delivery that may be sent now. */
type Candidate = Flight & Readonly<{ delivery: DueDelivery }>

/** `due` is in the order in which deliveries of one client are to be sent. */
export function chooseDeliveries(
  due: readonly DueDelivery[],
  inFlight: ReadonlyMap<DeliveryId, Flight>,
  standings: Standings,
  steady: Steady,
): readonly Candidate[] {
  const usage = countUsage([...inFlight.values()])
  const candidates = due
    .filter(({ id, line }) => !inFlight.has(id) && !isPaused(standings.get(line), steady))
    .map((delivery): Candidate => {
      const { id, party, line } = delivery
      return { id, party, line, lane: laneOf(standings.get(line)), delivery }
    })
  const byLane = Map.groupBy(candidates, ({ lane }) => lane)
  return [...byLane].flatMap(([lane, ofLane]) => fillLane(lane, ofLane, usage))
}

/** The client with the fewest connections is next, again and again. */
function fillLane(lane: Lane, candidates: readonly Candidate[], usage: Usage): Candidate[] {
  const { maxAtOnce } = lanes[lane]
  const used = usage.lanes[lane]
  const queues = Map.groupBy(candidates, ({ party }) => party)
  // A choice changes the next candidate of its own party only.
  const nexts = new Map([...queues].map(([party, queue]) => [party, nextOf(queue, usage)]))
  const chosen: Candidate[] = []
  while (used.all < maxAtOnce) {
    const waiting = [...nexts.values()].filter((one) => one !== undefined)
    const next = fewest(waiting, ({ party }) => used.parties.get(party) ?? 0)
    if (!next) break
    addUsage(next, usage)
    chosen.push(next)
    const rest = queues.get(next.party)?.filter((one) => one !== next) ?? []
    queues.set(next.party, rest)
    nexts.set(next.party, nextOf(rest, usage))
  }
  return chosen
}

/** Of one party: the receiver with the fewest connections is next. */
const nextOf = (queue: readonly Candidate[], usage: Usage): Candidate | undefined =>
  fewest(
    queue.filter((one) => hasRoom(one, usage)),
    ({ line }) => usage.lines.get(line) ?? 0,
  )

/** The first of those with the smallest count. */
function fewest<One>(all: readonly One[], count: (one: One) => number): One | undefined {
  const least = Math.min(...all.map(count))
  return all.find((one) => count(one) === least)
}

/** Connections of each lane: in all, and by party; and by line, which is in one lane at a time. */
type Usage = Readonly<{
  lanes: Readonly<Record<Lane, { all: number; parties: Map<DueDelivery['party'], number> }>>
  lines: Map<DueDelivery['line'], number>
}>

function countUsage(flights: readonly Flight[]): Usage {
  const unused = () => ({ all: 0, parties: new Map() })
  const usage: Usage = {
    lanes: { proven: unused(), untried: unused(), failing: unused() },
    lines: new Map(),
  }
  for (const flight of flights) addUsage(flight, usage)
  return usage
}

function addUsage({ lane, party, line }: Flight, { lanes: used, lines }: Usage): void {
  used[lane].all += 1
  used[lane].parties.set(party, (used[lane].parties.get(party) ?? 0) + 1)
  lines.set(line, (lines.get(line) ?? 0) + 1)
}

function hasRoom(flight: Flight, usage: Usage): boolean {
  const { lane, party } = flight
  const ofParty = usage.lanes[lane].parties.get(party) ?? 0
  return ofParty < lanes[lane].maxPerParty && !isLineFull(flight, usage)
}

const isLineFull = ({ lane, line }: Flight, { lines }: Usage): boolean =>
  (lines.get(line) ?? 0) >= lanes[lane].maxPerLine

const laneOf = (standing: Standing | undefined): Lane => standing?.is ?? 'untried'

const isPaused = (standing: Standing | undefined, steady: Steady): boolean =>
  standing?.is === 'failing' && standing.until > steady

/** Reads no more than can be sent, and of each lane: receivers that fail hide none that work. */
export function dueFilter(
  inFlight: ReadonlyMap<DeliveryId, Flight>,
  standings: Standings,
  steady: Steady,
): DueFilter {
  const usage = countUsage([...inFlight.values()])
  const lines = (wanted: Standing['is']) =>
    [...standings].flatMap(([line, { is }]) => (is === wanted ? [line] : []))
  const paused = [...standings].flatMap(([line, one]) => (isPaused(one, steady) ? [line] : []))
  const full = [...inFlight.values()].filter((one) => isLineFull(one, usage))
  return {
    inFlight: [...inFlight.keys()],
    notTo: [...new Set([...paused, ...full.map(({ line }) => line)])],
    lanes: [lines('proven'), lines('failing')],
    maxPerLine: maxDueOfLine,
    maxPerParty: maxDueOfParty,
  }
}

/** When the first pause ends, if there is one. */
export function endOfPause(standings: Standings, steady: Steady): Steady | undefined {
  const ends = [...standings.values()].flatMap((one) =>
    one.is === 'failing' && one.until > steady ? [one.until] : [],
  )
  return ends.length > 0 ? Math.min(...ends) : undefined
}

/** The line's standing as the latest; the line that was changed longest ago is forgotten. */
export function withStanding(
  standings: Standings,
  line: DueDelivery['line'],
  standing: Standing | undefined,
): Standings {
  const next = new Map(standings)
  next.delete(line)
  if (standing) next.set(line, standing)
  const [oldest] = next.keys()
  if (next.size > maxStandings && oldest !== undefined) next.delete(oldest)
  return next
}

/** Lines that had failed when the previous incarnation ended. */
export const failingSince = (lines: readonly string[], steady: Steady): Standings =>
  new Map(lines.slice(0, maxStandings).map((line) => [line, { is: 'failing', until: steady }]))
