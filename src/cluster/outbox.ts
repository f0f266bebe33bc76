/** Letters that wait to be written into the database: in order, in batches, again after a failure. */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { messageOf } from '../domain/errors.ts'
import type { Logger } from '../domain/log.ts'
import type { Connection } from './database.ts'
import { channelOf } from './node-name.ts'

/** A node and its membership. Mail for an earlier session is dropped, as is mail for a node that is lost. */
export type MailAddress = Readonly<{ node: string; session: number }>

/** `number`: counts the letters to one session of a node, so that the receiver recognises loss and repetition. */
export type Letter = Readonly<{
  to: MailAddress
  number: number
  term: number | undefined
  body: string
  /** Its receiver is notified. */
  wakes: boolean
}>

export type PostOptions = Readonly<{
  /**
   * It is written with the next letter that may not wait, or after a while, and its receiver is not notified: it
   * arrives within about a second. PostgreSQL wakes all nodes for each notification, so most letters should wait.
   */
  mayWait?: boolean
}>

export type OutboxOptions = Readonly<{
  connection: Connection
  /** The term in which this node leads: its letters are void when another leads. */
  term(): number | undefined
  log: Logger
  maxWaiting?: number
  retryMs?: number
  lingerMs?: number
}>

export type OutboxCounts = Readonly<{ posted: number; dropped: number; waiting: number }>

export type Outbox = {
  /** False: the session has ended, and nobody will read it. */
  post(to: MailAddress, body: string, options?: PostOptions): boolean
  counts(): OutboxCounts
  /** Resolves when all letters are written, or one batch has failed. */
  close(): Promise<void>
}

/** Memory of an outage: some 20 MB. Beyond it the oldest are dropped, which their receivers notice. */
const defaultMaxWaiting = 20_000

/** One statement writes this many at a time: twice as many letters a second as with 256, in some 50 ms. */
const maxBatch = 1_000
const maxBatchCharacters = 1_000_000

/** Time in which letters that may wait are collected. */
const defaultLingerMs = 500

export function createOutbox({
  connection: { query },
  term,
  log,
  maxWaiting = defaultMaxWaiting,
  retryMs = 250,
  lingerMs = defaultLingerMs,
}: OutboxOptions): Outbox {
  /** Of this process: numbers begin again with the next one. */
  const run = randomUUID()
  const sent = new Map<string, { session: number; number: number }>()
  let waiting: Letter[] = []
  let posted = 0
  let dropped = 0
  let sending: Promise<void> | undefined
  let lingering: NodeJS.Timeout | undefined
  let isClosing = false
  let isFailing = false

  return {
    post(to, body, { mayWait = false } = {}) {
      const number = nextNumber(to)
      if (number === undefined || isClosing) return false
      waiting.push({ to, number, term: term(), body, wakes: !mayWait })
      posted += 1
      if (waiting.length > maxWaiting) {
        waiting.shift()
        dropped += 1
      }
      if (!mayWait) begin()
      else if (!sending) lingering ??= setTimeout(begin, lingerMs)
      return true
    },
    counts: () => ({ posted, dropped, waiting: waiting.length }),
    async close() {
      isClosing = true
      begin()
      await sending
    },
  }

  function begin(): void {
    clearTimeout(lingering)
    lingering = undefined
    // Letters of one turn of the event loop go together.
    sending ??= new Promise((resolve) => setImmediate(resolve)).then(send)
  }

  function nextNumber({ node, session }: MailAddress): number | undefined {
    const last = sent.get(node)
    if (last && last.session > session) return undefined
    const number = last?.session === session ? last.number + 1 : 1
    sent.set(node, { session, number })
    return number
  }

  async function send(): Promise<void> {
    while (waiting.length > 0) {
      const batch = takeBatch()
      while (!(await isWritten(batch))) {
        if (isClosing) return
        await delay(retryMs)
      }
    }
    sending = undefined
  }

  function takeBatch(): readonly Letter[] {
    let count = 0
    for (let size = 0; count < maxBatch && size < maxBatchCharacters; count++) {
      const next = waiting[count]
      if (!next) break
      size += next.body.length
    }
    const batch = waiting.slice(0, count)
    waiting = waiting.slice(count)
    return batch
  }

  /** After a failure it is repeated: a batch that was written all the same is recognised by its numbers. */
  async function isWritten(batch: readonly Letter[]): Promise<boolean> {
    const channels = new Set(batch.flatMap(({ to, wakes }) => (wakes ? [channelOf(to.node)] : [])))
    try {
      await query(insert, [
        batch.map(({ to }) => to.node),
        batch.map(({ to }) => to.session),
        batch.map(({ number }) => number),
        batch.map((letter) => letter.term ?? null),
        batch.map(({ body }) => body),
        run,
        [...channels],
      ])
      isFailing = false
      return true
    } catch (error) {
      if (isRefused(error)) return isDropped(batch, error)
      if (!isFailing) log.warn({ error: messageOf(error) }, 'mail for other nodes waits')
      isFailing = true
      return false
    }
  }

  /** Another try would fail as well, and keep all mail waiting. */
  function isDropped({ length }: readonly Letter[], error: unknown): true {
    dropped += length
    log.error({ error: messageOf(error), letters: length }, 'the database refuses mail')
    return true
  }
}

/** A "data exception": something in these letters, and not the state of the database. */
const isRefused = (error: unknown): boolean =>
  String((error as { code?: unknown } | null)?.code ?? '').startsWith('22')

/** Identities grow in the order of the letters. The body is text: `jsonb` has no U+0000 and no lone surrogates. */
const insert = `
  with letter as (
    select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[])
      with ordinality as letter (to_node, to_session, number, term, body, place)
  ), written as (
    insert into mail (to_node, to_session, from_run, number, term, body)
    select to_node, to_session, $6, number, term, body from letter
    where exists (select 1 from node where name = to_node and session = to_session)
      and (term is null or exists (select 1 from leader where leader.term = letter.term))
    order by place
  )
  select pg_notify(channel, '') from unnest($7::text[]) as channel`
