import { describe, expect, it } from 'vitest'
import type { NodeMessage } from '../../../src/actors/node/node-protocol.ts'
import { startNode, transition } from '../../../src/actors/node/node-transition.ts'
import type { GpuId } from '../../../src/domain/job.ts'
import { gpu0, gpu1 } from '../../support/jobs.ts'

const sound = { type: 'lookEnded', unkillable: [] } as const

describe('a node', () => {
  it('ends what nobody watches at each welcome, and has its actors announced after that', () => {
    for (const told of [aNode(), aNode()].map((node) => [
      node.tell({ type: 'welcome' }),
      node.tell(sound),
      node.tell({ type: 'welcome' }),
    ])) {
      expect(told).toEqual([
        ['noteWelcome', 'endUnwatched'],
        ['announce'],
        ['noteWelcome', 'endUnwatched'],
      ])
    }
  })

  it('looks again when it is welcomed while it looks: what runs may have changed', () => {
    const node = aNode()
    node.tell({ type: 'welcome' })
    expect(node.tell({ type: 'welcome' })).toEqual(['noteWelcome'])
    expect(node.tell(sound)).toEqual(['endUnwatched'])
    expect(node.tell(sound)).toEqual(['announce'])
  })

  it('announces nothing after a look that failed, and looks again until one succeeds', () => {
    const node = aNode()
    const lookFailed = { type: 'lookFailed', error: new Error('no') } as const
    node.tell({ type: 'welcome' })
    expect(node.tell(lookFailed)).toEqual(['logFailure', 'lookLater'])
    expect(node.tell({ type: 'lookDue' })).toEqual(['endUnwatched'])
    expect(node.tell(lookFailed)).toEqual(['lookLater'])
    expect(node.tell({ type: 'lookDue' })).toEqual(['endUnwatched'])
    expect(node.tell(sound)).toEqual(['announce'])
  })

  it('announces the GPUs where processes survive SIGKILL, as its latest look found them', () => {
    const ended = (...unkillable: GpuId[]) => ({ type: 'lookEnded', unkillable }) as const
    const [looking] = transition(startNode[0], { type: 'welcome' })
    const [again] = transition(looking, { type: 'welcome' })
    const [last] = transition(again, ended(gpu0))
    const [, effects] = transition(last, ended(gpu1))
    expect(effects).toEqual([{ do: 'announce', unkillable: [gpu1] }])
  })

  it('looks once for all welcomes that came while it waited to look again', () => {
    const node = aNode()
    node.tell({ type: 'welcome' })
    node.tell({ type: 'lookFailed', error: new Error('no') })
    expect(node.tell({ type: 'welcome' })).toEqual(['noteWelcome'])
    expect(node.tell({ type: 'lookDue' })).toEqual(['endUnwatched'])
    expect(node.tell(sound)).toEqual(['announce'])
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
