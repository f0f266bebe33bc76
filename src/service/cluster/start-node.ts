/** A node of a cluster: it runs the GPUs of its machine, takes part in the election, and leads when it is elected. */
import { ask, startActorSystem } from '../../actors/actor.ts'
import { openClusterDatabase } from '../../cluster/database.ts'
import { readDatabaseClock } from '../../cluster/database-clock.ts'
import { type Election, type Leader, startElection } from '../../cluster/election.ts'
import { type GpuPlace, numberGpus, readGpuPlaces } from '../../cluster/gpu-numbers.ts'
import { readHome } from '../../cluster/home.ts'
import { readClusterKeys } from '../../cluster/keys.ts'
import { openMail } from '../../cluster/mail.ts'
import { joinCluster, type Membership } from '../../cluster/membership.ts'
import { hasOtherNode } from '../../cluster/node-table.ts'
import type { MailAddress } from '../../cluster/outbox.ts'
import { createReferences, type References } from '../../cluster/references.ts'
import type { Config } from '../../config/config.ts'
import { version } from '../../config/version.ts'
import type { Check } from '../../domain/check.ts'
import { type AttemptKey, type GpuId, type JobId, runsIn } from '../../domain/job.ts'
import { useClock } from '../../domain/time.ts'
import { type Answering, answerNodes } from '../../http/forwarding/node-routes.ts'
import { createPeers } from '../../http/peers/peers.ts'
import { logOf } from '../../infra/disk/data-directory.ts'
import { watchFiles } from '../../infra/disk/file-watch.ts'
import { detectGpus, identifyGpus } from '../../infra/machine/gpus.ts'
import { inspectServer } from '../../infra/store/postgres/inspect-server.ts'
import { openNodeReads } from '../../infra/store/postgres/open-node-reads.ts'
import { describeUrl } from '../../infra/store/postgres/pool.ts'
import { createHousekeeping } from '../../infra/upkeep/housekeeping.ts'
import { readLinkKey } from '../../infra/webhooks/link-key.ts'
import { whenReachable } from '../database/postgres.ts'
import { injectFaults } from '../faults.ts'
import { announce, openFront } from '../front.ts'
import { createMachine, formerGpus } from '../machine.ts'
import { createNodeActors, type NodeActors } from '../node-actors.ts'
import { endFormerLifeOn, openOwnDisk, removeHalfMade } from '../own-disk.ts'
import type { Running, StartOptions } from '../running.ts'
import { supervise } from '../supervision.ts'
import { leadsForCertain } from './certainty.ts'
import { createDiskGuard } from './disk-guard.ts'
import { createNodeApp } from './follower-app.ts'
import { createGate } from './gate.ts'
import { createKnownLeader } from './known-leader.ts'
import { type Lead, takeLead } from './lead.ts'
import { leaderAt } from './leader-at.ts'
import { openNodeResults, whyNotShared } from './node-results.ts'
import { createOwnLeftovers } from './own-leftovers.ts'
import { hasNoGpus, nameOf, urlOf } from './own-node.ts'
import { prepareStart } from './prepare-start.ts'
import { untilIdle } from './until-idle.ts'
import { untilNoticed } from './until-noticed.ts'
import { watchStore } from './watch-store.ts'
import { within } from './within.ts'

/** Longer than actors get to stop. */
const maxShutdownMs = 10_000

/** Time to end what can be ended in an orderly way when this node may not go on. */
const maxEndMs = 1_000

export async function startNode(
  config: Config,
  url: string,
  { log, env, onGivenUp }: StartOptions,
): Promise<Running> {
  const patiently = <Result>(work: () => Promise<Result>) => whenReachable(work, url, log)
  let hasEnded = false
  let lead: Lead | undefined
  let election: Election | undefined
  let own: NodeActors | undefined
  let hasLooked = false
  const found = hasNoGpus(config) ? [] : await detectGpus(config)
  await using resources = new AsyncDisposableStack()
  const { lockPath, reserve } = openOwnDisk(config, resources)
  resources.use(watchFiles([lockPath], end))
  const me = { name: nameOf(config), home: await readHome(config.dataDir) }
  const database = resources.adopt(await openClusterDatabase({ url }), ({ close }) => close())
  const { beats: connection } = database
  const clock = await patiently(() => readDatabaseClock(connection))
  useClock(clock.now)
  const joining = { connection, me, clock, log, lostMs: config.node.lostMs }
  const place = await prepareStart({ ...joining, config, url, database })
  const gpus = await patiently(() => numberGpus(database.mail, me, found, identifyGpus))
  const places = new Map(await patiently(() => readGpuPlaces(database.mail)))
  const keys = await patiently(() => readClusterKeys(database.mail, readLinkKey(config.linkKey)))
  const reads = resources.adopt(await openNodeReads(url), ({ close }) => close())
  const isMine = ({ node, home }: GpuPlace) => node === me.name && home === me.home
  const mine = [...places].flatMap(([gpu, place]) => (isMine(place) ? [gpu] : []))
  const running = await patiently(() => reads.openAttemptsOn(mine))
  const lost = await patiently(() => reads.gpusWithLostAttempts(mine))
  const deviceOf = (gpu: GpuId) => places.get(gpu)?.device ?? String(gpu)
  const owned = [...gpus, ...formerGpus(gpus, running, { lost, deviceOf })]

  const sharing = { config, connection: database.mail, me, secret: keys.secret, log }
  const results = await patiently(() => openNodeResults(sharing))
  const machine = createMachine({ config, gpus, owned, results, checkDatabase, log }, resources)
  await removeHalfMade(config, results)
  const leftovers = createOwnLeftovers({ config, results, reads, gpus: mine, log })
  const { archiveDir, data } = config
  const housekeeping = createHousekeeping({ data, reserve, archiveDir, known: reads.known })

  // The connections say so as soon as there are some.
  const memory = { isShort: () => false }
  const peers = createPeers(keys.secret)
  resources.defer(async () => peers.close())
  const { observe, videoFiles, previews, downloads } = machine
  /** For the leader, wherever that is. */
  const files = {
    ...{ videoFiles, previews, downloads, find: reads.find },
    ...{ resultsDir: data.resultsDir, previewsDir: data.previewsDir },
    logPath: (jobId: JobId) => logOf(data, jobId),
  }
  const knownLeader = createKnownLeader(database.mail)
  const children = async () => (own ? ask(own.supervisor, { type: 'whichChildren' }) : [])
  const answering = (app: Answering) => answerNodes(app, { name: me.name, peers, files, log })
  const follower = createNodeApp({ config, machine, peers, knownLeader, children, log })
  resources.defer(follower.close)
  const frontOptions = { config, gpus: owned, memory, peers, observe, log }
  const front = await openFront(answering(follower), frontOptions, resources)
  const nodeUrl = urlOf(config, new URL(front.url).port)

  const membership: Membership = await patiently(() =>
    joinCluster({
      ...joining,
      place,
      description: { url: nodeUrl, version, gpus, maxLoads: config.maxConcurrentLoads },
      observer: { rejoined, expelled: end },
    }),
  )
  const here = (): MailAddress => ({ node: me.name, session: membership.session() })
  const mail = openMail({
    database,
    node: me.name,
    session: membership.session,
    term: () => lead?.term,
    onLetter: (body) => references.receive(body),
    onMissed() {
      gate.reopen()
      lead?.missed()
    },
    log,
  })
  const references: References = createReferences({ here, post: mail.post, log })
  const gate = createGate({ node: me.name, session: membership.session })

  const system = startActorSystem()
  const nodeActors = createNodeActors(system, {
    ...{ config, machine, env, housekeeping, log },
    queue: gate.queue,
    onWelcome: gate.welcomed,
    onAnnounce: gate.open,
    fetchImagePart: reads.readImagePart,
    ...{ isCurrent, isConfirmed: membership.isConfirmed },
    endUnwatched,
    isNodeSignificant: true,
  })
  own = nodeActors
  const supervisor = supervise(system, {
    children: [
      ...nodeActors.children,
      createDiskGuard(system, { config, housekeeping, queue: gate.queue, observe, log }),
    ],
    places: [nodeActors.supervisor],
    tellGone(id, givenUp) {
      // It may have been welcomed, and not have announced anybody yet.
      if (id === nodeActors.actors.node.name) gate.reopen()
      else nodeActors.tellGone(id, givenUp)
    },
    onGivenUp,
    log,
  })
  for (const place of nodeActors.places) references.publish(place)
  if (config.faultInjection) {
    injectFaults(config, () => [...(lead?.crashable ?? []), ...nodeActors.places], resources)
  }
  election = startElection({
    connection,
    me,
    clock,
    observer: { leads: (term) => void becomeLeader(term), follows, deposed: end },
    log,
  })
  void checkSharing()
  machine.forkServer.warmUp()
  announce(front, config, gpus, log)

  const held = resources.move()
  return {
    url: front.url,
    /** Generations are left to their shims, and the next start adopts them. Another node leads at once. */
    async stop(mode) {
      if (mode === 'drain') await drain()
      // Another leader may be elected before the last commit of this one, which then fails.
      hasEnded = true
      await lead?.close()
      await within(maxEndMs, lead?.stop())
      await within(maxEndMs, election?.resign())
      const noticed =
        lead &&
        within(
          maxEndMs,
          untilNoticed(() => hasOtherNode(connection, me.name)),
        )
      gate.stop()
      knownLeader.stop()
      await within(maxShutdownMs, ask(supervisor, { type: 'shutdown' }, maxShutdownMs))
      await within(maxEndMs, membership.leave())
      await within(maxEndMs, mail.close())
      await noticed
      await held.disposeAsync()
    },
  }

  /** Resolves when the jobs of this node have ended. */
  async function drain(): Promise<void> {
    gate.leave()
    const ids = owned.map(({ id }) => id)
    await untilIdle(async () => (await reads.openAttemptsOn(ids)).length > 0)
  }

  /** A node that was cut off may not know yet that its job runs elsewhere. */
  async function isCurrent(attempt: AttemptKey): Promise<boolean> {
    return runsIn(await patiently(() => reads.find(attempt.jobId)), attempt)
  }

  function rejoined(): void {
    gate.reopen()
    void checkSharing()
  }

  /** While this node was lost, or about to join, others may have begun to share a directory. */
  async function checkSharing(): Promise<void> {
    const why = await patiently(() => whyNotShared(sharing)).catch(() => undefined)
    if (why !== undefined) end(why)
  }

  /** At each welcome: attempts may have been given to others while this node was lost. */
  async function endUnwatched(watched: () => readonly AttemptKey[]): Promise<void> {
    const readRunning = () => reads.openAttemptsOn(mine)
    const known = { readRunning, watched, mayConvert: hasLooked }
    await endFormerLifeOn(config, { ...known, find: reads.find, log })
    hasLooked = true
    leftovers.remove()
  }

  async function checkDatabase(): Promise<Check> {
    if (lead) return lead.checkDatabase()
    const name = 'database'
    const place = describeUrl(url)
    const standing = election?.standing()
    return standing?.role === 'follows' && standing.isCertain
      ? { name, ok: true, detail: place }
      : { name, ok: false, detail: `${place} does not answer.` }
  }

  function follows(leader: Leader): void {
    mail.sawTerm(leader.term)
    const { node, session } = leader
    if (node !== '') log.info({ node, term: leader.term }, 'this node follows a leader')
    const isKnown = node !== '' && session !== undefined
    gate.close(isKnown ? leaderAt(references, { node, session }) : undefined)
    knownLeader.follow(leader)
  }

  async function becomeLeader(term: number): Promise<void> {
    try {
      mail.sawTerm(term)
      gate.close(undefined)
      knownLeader.stop()
      resignIfUseless()
      lead = await takeLead(term, {
        ...{ config, url, machine, own: nodeActors, database, places, references },
        ...{ peers, linkKey: keys.linkKey, memory, children, me: me.name, onOver: end },
        ...{ onGivenUp, housekeeping, reserve, log },
        certainty: { isCertain, isLeaving: () => hasEnded },
        onCommitted: (beganAt) => election?.confirm(beganAt),
      })
      for (const actor of lead.published) references.publish(actor)
      gate.close(lead.actors)
      front.serve(answering(lead.app))
      knownLeader.lead(front.url, term)
    } catch (error) {
      end(`this node cannot lead: ${error instanceof Error ? error.message : String(error)}`)
    }
  }

  function isCertain(): boolean {
    return leadsForCertain(election?.standing())
  }

  /** Without a resignation, the next start of this node would take the lead again. */
  function resignIfUseless(): void {
    const stop = watchStore({
      connect: () => inspectServer(url),
      isCertain,
      hasSuccessor: () => hasOtherNode(connection, me.name),
      onUseless: (why) => void within(maxEndMs, election?.resign()).then(() => end(why)),
    })
    held.defer(stop)
  }

  /** Generations go on in their shims, for the next start of this node. */
  function end(why: string): void {
    if (hasEnded) return
    hasEnded = true
    log.error({ reason: why }, 'this node leaves the cluster')
    // A change that is being stored gets its answer, and no other one is begun.
    void within(maxEndMs, lead?.stop()).then(() => onGivenUp('cluster'))
  }
}
