/**
 * Mail between nodes, in order for each sender and receiver, and lost now and then as in any mailbox: in a crash of
 * the database, with the membership of a node, or with an answer of the database that did not arrive.
 */
import type { Logger } from '../domain/log.ts'
import type { ClusterDatabase } from './database.ts'
import { createInbox, type InboxCounts } from './inbox.ts'
import { type ListenerOptions, startListener } from './listener.ts'
import { channelOf } from './node-name.ts'
import { createOutbox, type MailAddress, type OutboxCounts, type PostOptions } from './outbox.ts'
import { repeat } from './repeat.ts'

export type MailOptions = Readonly<{
  database: ClusterDatabase
  node: string
  /** Of this node's membership. */
  session(): number
  /** The term in which this node leads. */
  term(): number | undefined
  onLetter(body: string): void
  /** Letters may have been lost: the user has all that it leads, or its own parts, announce themselves again. */
  onMissed(): void
  log: Logger
  /** Letters that wait while the database cannot be reached; beyond it the oldest are dropped. */
  maxWaiting?: number
  /** False where only a pooler of transactions leads to the database. */
  listens?: boolean
  listenerTimes?: ListenerOptions['times']
}>

export type Mail = {
  /** False: nobody will read it. */
  post(to: MailAddress, body: string, options?: PostOptions): boolean
  /** A leader of this term was seen; letters of earlier ones are dropped. */
  sawTerm(term: number): void
  counts(): OutboxCounts & InboxCounts
  isListening(): boolean
  /** Writes what waits, if the database takes it, and stops. */
  close(): Promise<void>
}

/** Poll of a node that receives no notifications, and of the leader, whose letters may mostly wait. */
const pollMs = 250
/** Polls of a follower that receives notifications: one of this many. */
const pollsWhileListening = 4

export function openMail({
  database,
  node,
  session,
  term,
  onLetter,
  onMissed,
  log,
  maxWaiting,
  listens = true,
  listenerTimes,
}: MailOptions): Mail {
  const connection = database.mail
  const outbox = createOutbox({ connection, term, log, ...(maxWaiting && { maxWaiting }) })
  const inbox = createInbox({ connection, node, session, onLetter, onMissed, log })
  const listener = listens
    ? startListener({
        database,
        channel: channelOf(node),
        onNotification: () => void inbox.read(),
        onConnected() {
          onMissed()
          void inbox.read()
        },
        log,
        ...(listenerTimes && { times: listenerTimes }),
      })
    : undefined
  let polls = 0
  const polling = repeat(pollMs, async () => {
    polls += 1
    const leads = term() !== undefined
    if (leads || !listener?.isListening() || polls % pollsWhileListening === 0) await inbox.read()
  })

  return {
    post: outbox.post,
    sawTerm: inbox.sawTerm,
    counts: () => ({ ...outbox.counts(), ...inbox.counts() }),
    isListening: () => listener?.isListening() ?? false,
    async close() {
      await Promise.all([outbox.close(), listener?.stop(), polling.stop()])
    },
  }
}
