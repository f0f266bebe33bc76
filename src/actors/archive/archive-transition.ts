import type { Timestamp } from '../../domain/job.ts'
import { answerFailed } from '../actor.ts'
import { append, toArray } from '../linked-list.ts'
import type { ArchiveEffect } from './archive-effects.ts'
import type { ArchiveMail, ArchiveNews } from './archive-protocol.ts'
import { type ArchiveState, newArchive } from './archive-state.ts'
import { deletionOf, requestOf } from './request-rules.ts'
import { type ArchiveTurn, enqueue, retry, worked, written } from './step-rules.ts'

const readRemovals: ArchiveEffect = { do: 'readRemovals' }
const survey: ArchiveEffect = { do: 'survey', afterSeq: 0 }

export const firstTurn: ArchiveTurn = [newArchive, [{ do: 'announce' }, readRemovals]]

/** All rules of the archive. Pure: no store, file, clock or actor is used. */
export function transition(state: ArchiveState, mail: ArchiveMail, at: Timestamp): ArchiveTurn {
  switch (mail.type) {
    case 'queueChanged': {
      const { queue } = mail
      return state.queue ? [{ ...state, queue }, []] : handleEarly({ ...state, queue }, at)
    }
    case 'removalsRead':
      return recover(state, mail, at)
    case 'surveyed':
      return surveyed(state, mail)
    case 'surveyFailed':
      return [state, [{ do: 'logSurveyFailed', error: mail.error }]]
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
    case 'completionDue':
      return [{ ...state, completesLater: false }, [readRemovals]]
    case 'storeFailed':
      throw mail.error
  }
  const { queue, isRecovered } = state
  // Before that it looks at them anyway.
  if (mail.type === 'lookAtFiles') return [state, isRecovered ? [readRemovals, survey] : []]
  const early: ArchiveTurn = [{ ...state, early: append(state.early, mail) }, []]
  if (!queue) return early
  switch (mail.type) {
    case 'deleteVideos':
      return isRecovered ? [state, [{ do: 'selectVideos', command: mail }]] : early
    case 'pin':
    case 'remove':
    case 'expire':
    case 'forgetTombstones':
    case 'compareFiles':
      return isRecovered ? enqueue(state, requestOf(mail)) : early
    default:
      return [state, [{ do: 'read', question: mail, queue }]]
  }
}

/** At the start, announced removals are completed before anything else happens to their jobs. */
function recover(
  state: ArchiveState,
  { removals }: Extract<ArchiveNews, { type: 'removalsRead' }>,
  at: Timestamp,
): ArchiveTurn {
  const [completing, first] =
    removals.length === 0
      ? ([state, []] as const)
      : enqueue(state, requestOf({ type: 'completeRemovals', removals }))
  const [next, more] = handleEarly({ ...completing, isRecovered: true }, at)
  return [next, [...first, ...more, ...(state.isRecovered ? [] : [survey])]]
}

/** All files are looked at once, so that no record names a file that is gone. */
function surveyed(
  state: ArchiveState,
  { suspects, next }: Extract<ArchiveNews, { type: 'surveyed' }>,
): ArchiveTurn {
  const more: ArchiveEffect[] = next === undefined ? [] : [{ do: 'survey', afterSeq: next }]
  if (suspects.length === 0) return [state, more]
  const [compared, effects] = enqueue(state, requestOf({ type: 'compareFiles', jobIds: suspects }))
  return [compared, [...effects, ...more]]
}

/** Messages that still have to wait are kept again. */
function handleEarly(state: ArchiveState, at: Timestamp): ArchiveTurn {
  let next: ArchiveState = { ...state, early: undefined }
  const effects: ArchiveEffect[] = []
  for (const message of toArray(state.early)) {
    const [after, more] = transition(next, message, at)
    next = after
    effects.push(...more)
  }
  return [next, effects]
}
