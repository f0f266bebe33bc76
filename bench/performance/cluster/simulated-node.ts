/**
 * A node of a cluster without a machine. Its connections to the database, membership, mail and actors are those of
 * the service; it follows, and never leads. Generations, conversions, files, disks and checks are simulated, and
 * there is no HTTP server.
 */
import { createPlace, startActorSystem, tell } from '../../../src/actors/actor.ts'
import { conversionBehaviour } from '../../../src/actors/conversion/conversion-actor.ts'
import type { ConversionMessage } from '../../../src/actors/conversion/conversion-protocol.ts'
import { caretakerBehaviour } from '../../../src/actors/gpu/caretaker-actor.ts'
import type { CaretakerMessage } from '../../../src/actors/gpu/caretaker-transition.ts'
import { gpuBehaviour } from '../../../src/actors/gpu/gpu-actor.ts'
import type { GpuMessage } from '../../../src/actors/gpu/gpu-protocol.ts'
import { janitorBehaviour } from '../../../src/actors/janitor/janitor-actor.ts'
import type { Housekeeping } from '../../../src/actors/janitor/janitor-ports.ts'
import type { JanitorMessage } from '../../../src/actors/janitor/janitor-protocol.ts'
import { nodeBehaviour } from '../../../src/actors/node/node-actor.ts'
import type { Machine } from '../../../src/actors/node/node-ports.ts'
import type { NodeMessage } from '../../../src/actors/node/node-protocol.ts'
import { child } from '../../../src/actors/supervisor/supervisor.ts'
import type { SupervisorMessage } from '../../../src/actors/supervisor/supervisor-protocol.ts'
import { openClusterDatabase } from '../../../src/cluster/database.ts'
import { readDatabaseClock } from '../../../src/cluster/database-clock.ts'
import { startElection } from '../../../src/cluster/election.ts'
import { numberGpus } from '../../../src/cluster/gpu-numbers.ts'
import { type Mail, openMail } from '../../../src/cluster/mail.ts'
import { joinCluster } from '../../../src/cluster/membership.ts'
import type { MailAddress } from '../../../src/cluster/outbox.ts'
import { createReferences, type References } from '../../../src/cluster/references.ts'
import { version } from '../../../src/config/version.ts'
import type { Logger } from '../../../src/domain/log.ts'
import type { NodeName } from '../../../src/domain/node.ts'
import { useClock } from '../../../src/domain/time.ts'
import { keepChecking } from '../../../src/infra/installation/standing-checks.ts'
import { openNodeReads } from '../../../src/infra/store/postgres/open-node-reads.ts'
import { createGate } from '../../../src/service/cluster/gate.ts'
import { createKnownLeader } from '../../../src/service/cluster/known-leader.ts'
import { leaderAt } from '../../../src/service/cluster/leader-at.ts'
import { childOf } from '../../../src/service/machine.ts'
import { supervise } from '../../../src/service/supervision.ts'
import { createSimulatedRunner, createSimulatedTools, type WorkCounts } from './simulated-work.ts'

export type SimulatedNodeOptions = Readonly<{
  url: string
  name: NodeName
  gpus: number
  maxLoads: number
  /** Step at which the first generation of each GPU begins. */
  firstStep(): number
  counts: WorkCounts
  log: Logger
}>

const graceMs = 10_000
const jobTimeoutMs = 3_600_000
const freeBytes = 1_000_000_000_000
/** The checks of a real installation. */
const checks = ['generate.py', 'checkpoint', 'python', 'ffmpeg', 'ffprobe']

/** Resolves when it is a member of the cluster. */
export async function startSimulatedNode(options: SimulatedNodeOptions): Promise<Mail> {
  const { url, name, maxLoads, counts, log } = options
  const me = { name, home: name }
  const database = await openClusterDatabase({ url })
  const clock = await readDatabaseClock(database.beats)
  useClock(clock.now)
  const devices = Array.from({ length: options.gpus }, (_, n) => ({ device: String(n) }))
  const gpus = await numberGpus(database.mail, me, devices)
  const ids = gpus.map(({ id }) => id)
  const reads = await openNodeReads(url)
  const knownLeader = createKnownLeader(database.mail)

  const membership = await joinCluster({
    connection: database.beats,
    me,
    description: { url: 'http://127.0.0.1:9', version, gpus, maxLoads },
    clock,
    observer: { rejoined: () => gate.reopen(), expelled: fail },
    log,
  })
  const here = (): MailAddress => ({ node: name, session: membership.session() })
  const gate = createGate({ node: name, session: membership.session })
  const mail = openMail({
    database,
    node: name,
    session: membership.session,
    term: () => undefined,
    onLetter: (body) => references.receive(body),
    onMissed: () => gate.reopen(),
    log,
  })
  const references: References = createReferences({ here, post: mail.post, log })

  const system = startActorSystem()
  const { queue } = gate
  const node = createPlace<NodeMessage>('node')
  const conversion = createPlace<ConversionMessage>('conversion')
  const caretaker = createPlace<CaretakerMessage>('caretaker')
  const supervisor = createPlace<SupervisorMessage>('supervisor')
  const places = new Map(ids.map((id) => [id, createPlace<GpuMessage>(childOf(id))]))
  const runners = new Map(
    ids.map((id) => [id, createSimulatedRunner(counts, options.firstStep())] as const),
  )
  const look = (check: string) => async () => ({ name: check, ok: true, detail: '/opt/Wan2.2' })
  const installation = keepChecking(Object.fromEntries(checks.map((check) => [check, look(check)])))
  const machine: Machine = {
    videoFiles: {
      find: async () => 'own',
      remove: async () => 'own',
      arePresent: async (files) => files.map(() => true),
    },
    jobFiles: { async forget() {}, async discard() {} },
    housekeeping,
    installation,
    gpus: ids,
    childOf,
    measured: () => new Map(ids.map((id) => [id, measured])),
    noteWelcome: gate.welcomed,
    async endUnwatched() {
      await reads.openAttemptsOn(ids)
      return []
    },
    announce() {
      gate.open()
      tell(conversion, { type: 'announce' })
      tell(caretaker, { type: 'announce' })
      for (const gpu of places.values()) tell(gpu, { type: 'announce' })
      installation.tellAgain()
    },
  }
  const limit = { task: 'ti2v-5B', limit: 8 } as const
  supervise(system, {
    children: [
      child(system, conversion, () =>
        conversionBehaviour({ ...limit, tools: createSimulatedTools(counts), queue, log }),
      ),
      child(system, caretaker, () => caretakerBehaviour({ runners, queue, graceMs, jobTimeoutMs })),
      ...[...runners].map(([gpu, runner]) =>
        child(system, places.get(gpu) ?? createPlace(childOf(gpu)), () =>
          gpuBehaviour({ gpu, runner, queue, graceMs, jobTimeoutMs }),
        ),
      ),
      child(system, node, () => nodeBehaviour({ machine, supervisor, log })),
      child(system, createPlace<JanitorMessage>('disk-guard'), () =>
        janitorBehaviour({ housekeeping, queue, minFreeBytes: 1, observe() {}, log }),
      ),
    ],
    places: [supervisor],
    tellGone() {},
    onGivenUp: fail,
    log,
  })
  installation.listen((found) => tell(queue, { type: 'environmentChecked', checks: found }))
  for (const actor of [node, conversion, caretaker, ...places.values()]) references.publish(actor)
  startElection({
    connection: database.beats,
    me,
    clock,
    observer: {
      leads: () => fail('a simulated node leads'),
      deposed: fail,
      follows(leader) {
        mail.sawTerm(leader.term)
        const { node, session } = leader
        gate.close(session === undefined ? undefined : leaderAt(references, { node, session }))
        knownLeader.follow(leader)
      },
    },
    log,
    // It never claims the lead of a leader that stands still.
    lostMs: Number.POSITIVE_INFINITY,
  })
  return mail
}

function fail(why: string): never {
  throw new Error(why)
}

const measured = {
  ...{ memoryUsedMiB: 24_000, memoryTotalMiB: 81_920, utilizationPercent: 99, temperatureC: 70 },
}

const housekeeping: Housekeeping = {
  measure: async () => [{ place: 'work', path: '/data', freeBytes }],
  async backUp() {},
  async restoreReserve() {},
  async removeLeftOvers() {},
}
