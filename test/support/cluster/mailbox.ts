/** Members of a cluster with mail, in the process of the test. */
import { onTestFinished } from 'vitest'
import { type Mail, type MailOptions, openMail } from '../../../src/cluster/mail.ts'
import type { MailAddress } from '../../../src/cluster/outbox.ts'
import { createReferences } from '../../../src/cluster/references.ts'
import { aMember, noLog } from './members.ts'

type MailboxOptions = Readonly<{
  term?: () => number | undefined
  lostMs?: number
  limitMs?: number
  /** Its notifications do not arrive. */
  isDeaf?: boolean
}> &
  Pick<MailOptions, 'maxWaiting' | 'listens'>

export async function aMailbox(
  url: string,
  name: string,
  {
    term = () => undefined,
    lostMs = 60_000,
    limitMs,
    isDeaf = false,
    ...rest
  }: MailboxOptions = {},
) {
  const letters: string[] = []
  const warnings: string[] = []
  let missed = 0
  const { membership, database, events } = await aMember(url, name, { lostMs, limitMs })
  const mail: Mail = openMail({
    database: isDeaf
      ? { ...database, openListener: (channel) => database.openListener(channel, () => {}) }
      : database,
    node: name,
    session: membership.session,
    term,
    onLetter(body) {
      letters.push(body)
      references.receive(body)
    },
    onMissed: () => {
      missed += 1
    },
    log: { ...noLog, warn: (_, phrase) => warnings.push(phrase) },
    listenerTimes: { limit: 500, probe: 200, retry: 50, deafRetry: 1_000 },
    ...rest,
  })
  onTestFinished(() => mail.close())
  const address = (): MailAddress => ({ node: name, session: membership.session() })
  const references = createReferences({ here: address, post: mail.post, log: noLog })
  return {
    name,
    mail,
    references,
    letters,
    warnings,
    membership,
    events,
    address,
    missed: () => missed,
  }
}

export type Mailbox = Awaited<ReturnType<typeof aMailbox>>
