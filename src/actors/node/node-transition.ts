import type { Step } from '../actor.ts'
import type { NodeEffect, NodeMessage, NodeState } from './node-protocol.ts'

export const startNode: Step<NodeState, NodeEffect> = [{ phase: 'idle' }, []]

/**
 * A GPU that announces itself idle vouches for it: nothing that a former life started there is left. So the
 * processes of attempts that do not run any more end first. The queue has stored by then what it made of a loss of
 * this node, since its welcome comes after that.
 */
export function transition(state: NodeState, message: NodeMessage): Step<NodeState, NodeEffect> {
  switch (message.type) {
    case 'welcome':
      return state.phase === 'beginning' ? [state, []] : [{ phase: 'beginning' }, [{ do: 'begin' }]]
    case 'begun':
      return [{ phase: 'idle' }, [{ do: 'announce' }]]
    // The node asks to be welcomed until it is.
    case 'beginningFailed':
      return [{ phase: 'idle' }, [{ do: 'logFailure', error: message.error }]]
    default:
      return [state, [{ do: 'work', work: message }]]
  }
}
