/** The turn of a template among the loads of the jobs: it takes as much memory and disk as one. */
import type { Timestamp } from '../../../domain/job.ts'
import type { QueueState } from '../queue-state.ts'
import { assign } from './claim-rules.ts'
import type { QueueStep } from './queue-steps.ts'

export function askTemplateTurn(state: QueueState, build: number, at: Timestamp): QueueStep {
  const { templateLoad } = state
  // The turn may have been lost on the way to an actor that has crashed.
  if (templateLoad?.build === build && templateLoad.hasBegun)
    return [state, [{ do: 'giveTemplateTurn', build }]]
  return assign({ ...state, templateLoad: { build, hasBegun: false } }, at)
}

export const endTemplateTurn = (state: QueueState, build: number, at: Timestamp): QueueStep =>
  state.templateLoad?.build === build
    ? assign({ ...state, templateLoad: undefined }, at)
    : [state, []]
