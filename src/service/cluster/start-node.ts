/** A node of a cluster: it runs the GPUs of its machine, takes part in the election, and leads when it is elected. */
import { setTimeout as delay } from 'node:timers/promises'
import { ask, startActorSystem } from '../../actors/actor.ts'
import { type Election, type Leader, startElection } from '../../cluster/election.ts'
import { openMail } from '../../cluster/mail.ts'
import { joinCluster, type Membership } from '../../cluster/membership.ts'
import { hasOtherNode } from '../../cluster/node-table.ts'
import type { MailAddress } from '../../cluster/outbox.ts'
import { createReferences, type References } from '../../cluster/references.ts'
import { findRunningNode } from '../../cluster/running-nodes.ts'
import type { Config } from '../../config/config.ts'
import { version } from '../../config/version.ts'
import type { Check } from '../../domain/check.ts'
import type { JobId } from '../../domain/job.ts'
import { type Answering, answerNodes } from '../../http/forwarding/node-routes.ts'
import { createPeers } from '../../http/peers/peers.ts'
import { logOf } from '../../infra/disk/data-directory.ts'
import { inspectServer } from '../../infra/store/postgres/inspect-server.ts'
import { describeUrl } from '../../infra/store/postgres/pool.ts'
import { whenReachable } from '../database/postgres.ts'
import { injectFaults } from '../faults.ts'
import { announce, openFront } from '../front.ts'
import { createNodeActors, type NodeActors } from '../node-actors.ts'
import type { Running, StartOptions } from '../running.ts'
import { supervise } from '../supervision.ts'
import { leadsForCertain } from './certainty.ts'
import { createDiskGuard } from './disk-guard.ts'
import { createNodeApp } from './follower-app.ts'
import { createGate } from './gate.ts'
import { createKnownLeader } from './known-leader.ts'
import { type Lead, takeLead } from './lead.ts'
import { leaderAt } from './leader-at.ts'
import { createOwnAttempts } from './own-attempts.ts'
import { openOwnMachine } from './own-machine.ts'
import { urlOf } from './own-node.ts'
import { untilNoticed } from './until-noticed.ts'
import { canConnect, watchStore } from './watch-store.ts'
import { within } from './within.ts'

/** Longer than actors get to stop. */
const maxShutdownMs = 10_000

const firstLookMs = 2_000

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
  await using resources = new AsyncDisposableStack()
  const opened = await openOwnMachine(
    { config, url, checkDatabase, onUnlocked: end, log },
    resources,
  )
  const { me, database, clock, places, keys, reads, machine, reserve, housekeeping } = opened
  const { beats: connection } = database
  const { gpus, owned } = machine
  const { data } = config
  const attempts = createOwnAttempts({ ...opened, config, url, log })

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
      ...opened.joining,
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
    isCurrent: attempts.isCurrent,
    isConfirmed: membership.isConfirmed,
    endUnwatched: attempts.endUnwatched,
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
    canLead: () => canConnect(connect),
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

  async function drain(): Promise<void> {
    gate.leave()
    await attempts.untilEnded()
  }

  function rejoined(): void {
    gate.reopen()
    void checkSharing()
  }

  /** While this node was lost, or about to join, others may have begun to share a directory. */
  async function checkSharing(): Promise<void> {
    const why = await opened.whyNotShared().catch(() => undefined)
    if (why !== undefined) end(why)
  }

  async function checkDatabase(): Promise<Check> {
    const isHeard = () => {
      const standing = election?.standing()
      return standing?.role !== 'ended' && standing?.isCertain === true
    }
    // At the start, the first look of the election is under way.
    for (const until = performance.now() + firstLookMs; performance.now() < until; ) {
      if (lead || isHeard()) break
      await delay(100)
    }
    if (lead) return lead.checkDatabase()
    const name = 'database'
    const place = describeUrl(url)
    return isHeard()
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
      // This node was stopped meanwhile, or may not go on.
      if (hasEnded) return await lead.stop()
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

  function connect(): Promise<unknown> {
    return inspectServer(url)
  }

  /** One that beats: the row of a node that has just resigned says for a while that it is present. */
  async function hasSuccessor(): Promise<boolean> {
    const { lostMs } = config.node
    return (await findRunningNode(connection, me.name, { lostMs })) !== undefined
  }

  /** Without a resignation, the next start of this node would take the lead again. */
  function resignIfUseless(): void {
    const stop = watchStore({
      connect,
      isCertain,
      hasSuccessor,
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
