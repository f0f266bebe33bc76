import type { MailAddress } from '../../cluster/outbox.ts'
import type { References } from '../../cluster/references.ts'
import type { LeaderActors } from './gate.ts'
import { isPatientNews } from './patient-mail.ts'

/** The actors of a leader on another node. */
export function leaderAt({ remote }: References, address: MailAddress): LeaderActors {
  const at = () => address
  // The actors of a node tell the queue news alone, and all of that can travel.
  const queue: unknown = remote<never>('queue', at, isPatientNews)
  return { queue: queue as LeaderActors['queue'], fleet: remote('fleet', at) }
}
