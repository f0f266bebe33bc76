import type { Timestamp } from '../../../domain/job.ts'
import { answer } from '../../actor.ts'
import { holdBy } from '../environment-state.ts'
import type { QueueEffect } from '../queue-effects.ts'
import type { CloseMode, QueueCommand, QueueNews } from '../queue-protocol.ts'
import type { QueueState } from '../queue-state.ts'
import { onAttempt } from './attempt-rules.ts'
import { answerOverdueTicket, cancel, continueCancel } from './cancel-rules.ts'
import { resumeConversions } from './conversion-orders.ts'
import {
  disown,
  drainOrResume,
  loseGpu,
  resumeCare,
  seeProcessesLeft,
  startProbe,
  welcomeGpu,
} from './gpu-rules.ts'
import { loseNode } from './lost-node-rules.ts'
import { drainOrResumeNode, removeNode } from './node-commands.ts'
import { joinNode, leaveNode } from './node-rules.ts'
import { goOn, see, seeRoom } from './place-rules.ts'
import type { QueueStep } from './queue-steps.ts'
import { tellRepeated } from './repeat-rules.ts'
import { admit, notPrepared, prepare } from './submit-rules.ts'
import { askTemplateTurn, endTemplateTurn } from './template-turns.ts'

/**
 * Every rule of the queue, with no store, process, clock or actor in sight. `at`: by the wall clock,
 * for people. `steady`: by a clock that nobody sets, for what depends on how long ago something was.
 */
export function transition(
  state: QueueState,
  message: QueueCommand | QueueNews,
  at: Timestamp,
  steady: Timestamp = at,
): QueueStep {
  const [next, decided] = decide(state, message, at, steady)
  const effects = withHoldLogged(state, next, decided)
  const { closing } = next
  if (!closing || !isOver(next, closing.mode)) return [next, effects]
  const { closing: _, ...closed } = next
  return [closed, [...effects, answer(closing.replyTo, 'closed')]]
}

/** Once when claims stop on a node, and once when they go on. */
function withHoldLogged(
  before: QueueState,
  after: QueueState,
  effects: readonly QueueEffect[],
): readonly QueueEffect[] {
  if (before.nodes === after.nodes) return effects
  const holds = [...after.nodes.values()].flatMap(({ name, environment }): QueueEffect[] => {
    const was = before.nodes.get(name)?.environment
    if (was === environment) return []
    const hold = holdBy(environment)
    const wasHeld = was !== undefined && holdBy(was) !== undefined
    return wasHeld === (hold !== undefined) ? [] : [{ do: 'logHold', node: name, hold }]
  })
  return [...effects, ...holds]
}

function decide(
  state: QueueState,
  message: QueueCommand | QueueNews,
  at: Timestamp,
  steady: Timestamp,
): QueueStep {
  switch (message.type) {
    case 'submit':
      return prepare(state, message, steady)
    case 'admit':
      return admit(state, message, at, steady)
    case 'cancel':
      return cancel(state, message, at)
    case 'cancelContinues':
      return continueCancel(state, message.ticket, at)
    case 'cancelOverdue':
      return answerOverdueTicket(state, message.ticket)
    case 'drainNode':
    case 'resumeNode':
      return drainOrResumeNode(state, message, at)
    case 'removeNode':
      return removeNode(state, message, at)
    case 'nodeJoined':
      return joinNode(state, message, at)
    case 'nodeLeft':
      return leaveNode(state, message)
    case 'nodeLost':
      return loseNode(state, message, at)
    case 'close':
      return close(state, message)
    case 'drainGpu':
    case 'resumeGpu':
      return drainOrResume(state, message, at)
    case 'disown':
      return disown(state, message)
    case 'probeDue':
      return startProbe(state, message, at)
    case 'roomChecked':
      return seeRoom(state, message, at)
    case 'environmentChecked':
      return see(state, message, at)
    case 'pauseEnded':
      return goOn(state, message, at)
    case 'gpuReady':
      return welcomeGpu(state, message, at)
    case 'gpuGone':
      return loseGpu(state, message, at)
    case 'processesLeft':
      return seeProcessesLeft(state, message, at)
    case 'templateWaits':
      return askTemplateTurn(state, message, at)
    case 'templateSettled':
    case 'templateOverdue':
      return endTemplateTurn(state, message, at)
    case 'conversionReady':
      return resumeConversions(state, message.node ?? state.settings.node)
    case 'caretakerReady':
      return resumeCare(state)
    case 'preparationFailed':
      return notPrepared(state, message)
    case 'repetitionFound':
      return tellRepeated(state, message)
    case 'speedsLearned':
      return [
        {
          ...state,
          secondsPerJob: message.secondsPerJob,
          loadSeconds: message.loadSeconds ?? state.loadSeconds,
        },
        [],
      ]
    default:
      return onAttempt(state, message, at)
  }
}

/** Nothing is claimed any more; what runs goes on, or is stopped and given back as if never begun. */
function close(
  state: QueueState,
  { mode, replyTo }: Extract<QueueCommand, { type: 'close' }>,
): QueueStep {
  const closing = { ...state, open: false, closing: { mode, replyTo } }
  if (mode !== 'kill') return [closing, []]
  const generating = [...state.running.values()].filter(({ phase }) => phase === 'generating')
  let { running } = state
  for (const job of generating) running = running.set({ ...job, orphaned: 'giveBack' })
  return [
    { ...closing, running },
    generating.map(({ jobId, epoch, gpu }) => ({
      do: 'stopGeneration',
      jobId,
      epoch,
      gpu,
      reason: 'orphaned',
    })),
  ]
}

function isOver({ running }: QueueState, mode: CloseMode): boolean {
  if (mode === 'detach') return true
  const left = [...running.values()]
  // A conversion that is cut off is made anew by the next start, from the generation's file.
  return mode === 'drain' ? left.length === 0 : left.every(({ phase }) => phase === 'converting')
}
