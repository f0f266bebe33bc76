import type { Timestamp } from '../../domain/job.ts'
import { answerFailed } from '../actor.ts'
import { append, toArray } from '../linked-list.ts'
import type { ArchiveEffect } from './archive-effects.ts'
import type { ArchiveMail, QueueChanged } from './archive-protocol.ts'
import { type ArchiveState, newArchive } from './archive-state.ts'
import { deletionOf, requestOf } from './request-rules.ts'
import { type ArchiveTurn, enqueue, retry, worked, written } from './step-rules.ts'

export const firstTurn: ArchiveTurn = [newArchive, [{ do: 'announce' }]]

/** All rules of the archive. Pure: no store, file, clock or actor is used. */
export function transition(state: ArchiveState, mail: ArchiveMail, at: Timestamp): ArchiveTurn {
  switch (mail.type) {
    case 'queueChanged':
      return see(state, mail, at)
    case 'videosSelected':
      return enqueue(state, deletionOf(mail.command, mail.jobIds))
    case 'selectionFailed':
      return [state, [answerFailed(mail.replyTo, 'the store could not be read', mail.error)]]
    case 'worked':
      return worked(state, mail.outcomes, at)
    case 'written':
      return written(state, mail.result)
    case 'retryDue':
      return retry(state)
    case 'storeFailed':
      throw mail.error
  }
  const { queue } = state
  if (!queue) return [{ ...state, early: append(state.early, mail) }, []]
  switch (mail.type) {
    case 'deleteVideos':
      return [state, [{ do: 'selectVideos', command: mail }]]
    case 'pin':
    case 'remove':
    case 'expire':
    case 'forgetTombstones':
      return enqueue(state, requestOf(mail))
    default:
      return [state, [{ do: 'read', question: mail, queue }]]
  }
}

/** With the first snapshot, messages that have waited for it are handled. */
function see(state: ArchiveState, { queue }: QueueChanged, at: Timestamp): ArchiveTurn {
  let next: ArchiveState = { ...state, queue, early: undefined }
  const effects: ArchiveEffect[] = []
  for (const message of toArray(state.early)) {
    const [after, more] = transition(next, message, at)
    next = after
    effects.push(...more)
  }
  return [next, effects]
}
