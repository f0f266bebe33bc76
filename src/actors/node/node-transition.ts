import type { Step } from '../actor.ts'
import type { NodeEffect, NodeMessage, NodeState } from './node-protocol.ts'

const look: Step<NodeState, NodeEffect> = [
  { phase: 'looking', again: false },
  [{ do: 'endUnwatched' }],
]

export const startNode: Step<NodeState, NodeEffect> = [{ phase: 'idle' }, []]

/**
 * A GPU that announces itself idle vouches for it: nothing is left there. So the processes of attempts that do not run
 * any more, and that no actor watches, end first. The queue has stored by then what it made of a loss of this node,
 * since each welcome comes after that.
 */
export function transition(state: NodeState, message: NodeMessage): Step<NodeState, NodeEffect> {
  switch (message.type) {
    case 'welcome':
      return state.phase === 'looking' ? [{ ...state, again: true }, []] : look
    case 'lookEnded':
      // What is running may have changed since the look began.
      return state.phase === 'looking' && state.again
        ? look
        : [{ phase: 'idle' }, [{ do: 'announce' }]]
    // The node asks to be welcomed until it is.
    case 'lookFailed':
      return [{ phase: 'idle' }, [{ do: 'logFailure', error: message.error }]]
    default:
      return [state, [{ do: 'work', work: message }]]
  }
}
