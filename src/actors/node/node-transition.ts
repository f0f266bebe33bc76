import type { Step } from '../actor.ts'
import type { NodeEffect, NodeMessage, NodeState } from './node-protocol.ts'

const look: NodeEffect = { do: 'endUnwatched' }
const noteWelcome: NodeEffect = { do: 'noteWelcome' }
const looking = { phase: 'looking', again: false, hasFailed: false } as const

export const startNode: Step<NodeState, NodeEffect> = [{ phase: 'idle' }, []]

/**
 * A GPU that announces itself idle vouches for it: nothing is left there. So the processes of attempts that do not run
 * any more, and that no actor watches, end first, and GPUs where one survives are announced as such. The queue has stored by then what it made of a loss of this node,
 * since each welcome comes after that.
 */
export function transition(state: NodeState, message: NodeMessage): Step<NodeState, NodeEffect> {
  switch (message.type) {
    case 'welcome':
      return state.phase === 'looking'
        ? [{ ...state, again: true }, [noteWelcome]]
        : [looking, [noteWelcome, look]]
    case 'lookEnded':
      // What is running may have changed since the look began.
      return state.phase === 'looking' && state.again
        ? [looking, [look]]
        : [{ phase: 'idle' }, [{ do: 'announce', unkillable: message.unkillable }]]
    // The queue claims for no GPU of this machine before it is announced, and may welcome it no second time.
    case 'lookFailed':
      return [
        { ...looking, hasFailed: true },
        [...logFirst(state, message.error), { do: 'lookLater' }],
      ]
    case 'lookDue':
      return state.phase === 'looking' ? [{ ...state, again: false }, [look]] : [state, []]
    default:
      return [state, [{ do: 'work', work: message }]]
  }
}

const logFirst = (state: NodeState, error: unknown): readonly NodeEffect[] =>
  state.phase === 'looking' && state.hasFailed ? [] : [{ do: 'logFailure', error }]
