/** The end of a command whose changes could not be written. */
import { DiskFullError, RefusalError } from '../../domain/errors.ts'
import { type AnswerEffect, answer, answerFailed } from '../actor.ts'
import type { QueueCommand } from './queue-protocol.ts'
import type { QueueState } from './queue-state.ts'
import type { QueueStep } from './queue-steps.ts'
import { notTaken } from './submit-rules.ts'

/** Refuses the sender and removes all traces of the command. */
export function undo(state: QueueState, command: QueueCommand, error: Error): QueueStep {
  if (command.type === 'admit') return notTaken(state, command, refusalOf(command, error))
  return [state, [refusalOf(command, error)]]
}

function refusalOf({ type, replyTo }: QueueCommand, error: Error): AnswerEffect {
  const isSubmission = type === 'submit' || type === 'admit'
  return isSubmission && error instanceof DiskFullError
    ? answer(replyTo, new RefusalError('disk_full', 'The disk is full; the job was not taken.'))
    : answerFailed(replyTo, 'the store could not write', error)
}
