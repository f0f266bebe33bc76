/** Letters for this node: read and deleted in one statement, in order, each at most once. */
import { messageOf } from '../domain/errors.ts'
import type { Logger } from '../domain/log.ts'
import type { Connection } from './database.ts'

export type InboxOptions = Readonly<{
  connection: Connection
  node: string
  session(): number
  onLetter(body: string): void
  /** Letters may have been lost: both sides announce themselves again. */
  onMissed(): void
  log: Logger
}>

export type InboxCounts = Readonly<{
  received: number
  /** Letters that arrived twice, of a leader that was replaced, and for an earlier session. */
  repeated: number
  outdated: number
  /** Letters that never arrived, as far as later ones show it. */
  missed: number
}>

export type Inbox = {
  /** Reads until none is left. Calls while it reads have it read once more. */
  read(): Promise<void>
  /** A leader of this term was seen; letters of earlier ones are void. */
  sawTerm(term: number): void
  counts(): InboxCounts
}

/** Memory of one read, and the time for which its letters hold up everything else: some 10 ms. */
const maxRead = 200

/** Runs of other nodes whose last letter is known. One that is forgotten looks like a loss, which does no harm. */
const maxSenders = 10_000

export function createInbox({
  connection: { query },
  node,
  session,
  onLetter,
  onMissed,
  log,
}: InboxOptions): Inbox {
  const counts = { received: 0, repeated: 0, outdated: 0, missed: 0 }
  /** Number of the last letter by the run that sent it, to the session below. */
  const latest = new Map<string, number>()
  let numbered = session()
  let highestTerm = 0
  let reading: Promise<void> | undefined
  let again = false
  /** A read whose answer was lost has deleted letters. */
  let hasFailed = false

  return {
    read() {
      again = true
      reading ??= readAll()
      return reading
    },
    sawTerm(term) {
      highestTerm = Math.max(highestTerm, term)
    },
    counts: () => ({ ...counts }),
  }

  async function readAll(): Promise<void> {
    try {
      while (again) {
        again = false
        const mine = session()
        const { rows } = await query<Row>(take, [node, mine, maxRead])
        again ||= rows.length === maxRead
        if (hasFailed) onMissed()
        hasFailed = false
        for (const row of rows) receive(row, mine)
      }
    } catch (error) {
      if (!hasFailed) log.warn({ error: messageOf(error) }, 'the mail of this node cannot be read')
      hasFailed = true
    } finally {
      reading = undefined
    }
  }

  function receive({ to_session, from_run, number, term, body }: Row, mine: number): void {
    if (Number(to_session) !== mine) {
      counts.outdated += 1
      return
    }
    if (!isNext(from_run, Number(number), mine)) return
    if (term !== null && Number(term) < highestTerm) {
      counts.outdated += 1
      return
    }
    highestTerm = Math.max(highestTerm, Number(term))
    counts.received += 1
    onLetter(body)
  }

  function isNext(run: string, number: number, mine: number): boolean {
    if (numbered !== mine) latest.clear()
    numbered = mine
    const last = latest.get(run) ?? 0
    if (number <= last) {
      counts.repeated += 1
      return false
    }
    latest.delete(run)
    latest.set(run, number)
    const [oldest] = latest.keys()
    if (latest.size > maxSenders && oldest !== undefined) latest.delete(oldest)
    if (number > last + 1) {
      counts.missed += number - last - 1
      onMissed()
    }
    return true
  }
}

type Row = Readonly<{
  to_session: string
  from_run: string
  number: string
  term: string | null
  body: string
}>

/** Mail for a later session belongs to a process that has taken over the name. */
const take = `
  with taken as (
    delete from mail where id in (
      select id from mail where to_node = $1 and to_session <= $2 order by id limit $3
    ) returning id, to_session, from_run, number, term, body
  )
  select * from taken order by id`

/** Deletes mail that nobody will read: for nodes that are lost, have left or were removed, and earlier sessions. */
export async function deleteUnreadable({ query }: Connection): Promise<void> {
  await query(
    `delete from mail where not exists (
       select 1 from node where name = to_node and session = to_session and state = 'present'
     )`,
  )
}
