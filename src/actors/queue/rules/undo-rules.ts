/** The end of a command whose changes could not be written. */
import {
  DatabaseUnreachableError,
  DiskFullError,
  RefusalError,
  StoreLockedError,
  unreachableRefusal,
} from '../../../domain/errors.ts'
import { type AnswerEffect, answer, answerFailed } from '../../actor.ts'
import type { QueueCommand } from '../queue-protocol.ts'
import type { QueueState } from '../queue-state.ts'
import type { QueueStep } from './queue-steps.ts'
import { notTaken } from './submit-rules.ts'

/** Refuses the sender and removes all traces of the command. */
export function undo(state: QueueState, command: QueueCommand, error: Error): QueueStep {
  if (command.type === 'admit') {
    const [next, effects] = notTaken(state, command, refusalOf(command, error))
    // The job may be stored, and then it needs its image. A start removes work files of unknown jobs.
    return [next, mayBeStored(error) ? effects.filter((one) => one.do !== 'discardWork') : effects]
  }
  return [state, [refusalOf(command, error)]]
}

export const mayBeStored = (error: Error): boolean =>
  error instanceof DatabaseUnreachableError && error.mayBeStored

function refusalOf(command: QueueCommand, error: Error): AnswerEffect {
  if (command.type === 'submit' || command.type === 'admit') {
    const refusal = submissionRefusal(error)
    if (refusal) return answer(command.replyTo, refusal)
  }
  return answerFailed(command.replyTo, 'the store could not write', error)
}

function submissionRefusal(error: Error): RefusalError | undefined {
  if (error instanceof DiskFullError) {
    return new RefusalError('disk_full', `The job was not taken: ${error.message}.`)
  }
  if (error instanceof StoreLockedError) {
    return new RefusalError(
      'database_locked',
      'Another program holds the lock of the database; the job was not taken. Try again in a moment.',
    )
  }
  if (error instanceof DatabaseUnreachableError) return unreachableRefusal(error)
  return undefined
}

/** For the log. */
export const whyBlocked = (error: Error): string => error.message
