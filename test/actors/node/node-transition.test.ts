import { describe, expect, it } from 'vitest'
import type { NodeMessage } from '../../../src/actors/node/node-protocol.ts'
import { startNode, transition } from '../../../src/actors/node/node-transition.ts'

describe('a node', () => {
  it('ends what nobody watches at each welcome, and has its actors announced after that', () => {
    for (const told of [aNode(), aNode()].map((node) => [
      node.tell({ type: 'welcome' }),
      node.tell({ type: 'lookEnded' }),
      node.tell({ type: 'welcome' }),
    ])) {
      expect(told).toEqual([['endUnwatched'], ['announce'], ['endUnwatched']])
    }
  })

  it('looks again when it is welcomed while it looks: what runs may have changed', () => {
    const node = aNode()
    node.tell({ type: 'welcome' })
    expect(node.tell({ type: 'welcome' })).toEqual([])
    expect(node.tell({ type: 'lookEnded' })).toEqual(['endUnwatched'])
    expect(node.tell({ type: 'lookEnded' })).toEqual(['announce'])
  })

  it('announces nothing after a look that failed, until it is welcomed again', () => {
    const node = aNode()
    node.tell({ type: 'welcome' })
    expect(node.tell({ type: 'lookFailed', error: new Error('no') })).toEqual(['logFailure'])
    expect(node.tell({ type: 'welcome' })).toEqual(['endUnwatched'])
  })
})

function aNode() {
  let [state] = startNode
  return {
    tell(message: NodeMessage): string[] {
      const [next, effects] = transition(state, message)
      state = next
      return effects.map((effect) => effect.do)
    },
  }
}
