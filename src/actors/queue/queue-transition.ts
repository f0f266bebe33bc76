import type { Timestamp } from '../../job.ts'
import { onAttempt, resumeConversions } from './attempt-rules.ts'
import { answerOverdueTicket, cancel } from './cancel-rules.ts'
import { welcomeGpu } from './gpu-rules.ts'
import type { QueueCommand, QueueNews, QueueState } from './queue-protocol.ts'
import { type QueueStep, stored, withoutGpu } from './queue-state.ts'
import { admit, prepare } from './submit-rules.ts'

/** Every rule of the queue, with no store, process, clock or actor in sight. */
export function transition(
  state: QueueState,
  message: QueueCommand | QueueNews,
  at: Timestamp,
): QueueStep {
  switch (message.type) {
    case 'submit':
      return prepare(state, message)
    case 'admit':
      return admit(state, message, at)
    case 'cancel':
      return cancel(state, message, at)
    case 'cancelOverdue':
      return answerOverdueTicket(state, message.ticket)
    case 'deleteVideos':
      return [
        state,
        [{ do: 'removeVideos', selection: message.selection, replyTo: message.replyTo }],
      ]
    case 'videosRemoved':
      return [
        state,
        [
          ...message.jobs.map(({ jobId }) => stored({ op: 'forgetVideo', jobId, at })),
          { do: 'answerDeleted', to: message.replyTo, jobs: message.jobs },
        ],
      ]
    case 'close':
      return [{ ...state, open: false }, []]
    case 'gpuReady':
      return welcomeGpu(state, message, at)
    case 'gpuGone':
      return [withoutGpu(state, message.gpu), []]
    case 'conversionReady':
      return resumeConversions(state)
    case 'etaReady':
      return [state, [{ do: 'showEta' }]]
    case 'speedsLearned':
      return [{ ...state, secondsPerJob: message.secondsPerJob }, []]
    default:
      return onAttempt(state, message, at)
  }
}
