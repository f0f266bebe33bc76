import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { tell } from '../../../src/actors/actor.ts'
import type { QueueMessage } from '../../../src/actors/queue/queue-protocol.ts'
import type { NodeName } from '../../../src/domain/node.ts'
import type { FleetMessage } from '../../../src/service/cluster/fleet-protocol.ts'
import { createGate } from '../../../src/service/cluster/gate.ts'
import { createProbe } from '../../support/probe.ts'

describe('the gate of a node', () => {
  it('knocks at the leader until the queue welcomes the node, and lets news pass only then', async () => {
    const { gate, leader, fleet, queue } = aGate()
    gate.close(leader)
    expect(tell(gate.queue, { type: 'caretakerReady' })).toBe(false)
    for (let n = 0; n < 3; n++) {
      expect(await fleet.next()).toEqual({ type: 'knocked', node: 'b', session: 7 })
    }
    gate.open(gate.closings())
    expect(tell(gate.queue, { type: 'caretakerReady' })).toBe(true)
    expect(await queue.next()).toEqual({ type: 'caretakerReady' })
  })

  it('signs news of the machine with the name of the node', async () => {
    const { gate, leader, queue } = aGate()
    gate.close(leader)
    gate.open(gate.closings())
    tell(gate.queue, { type: 'roomChecked', hasRoom: true })
    expect(await queue.next()).toEqual({ type: 'roomChecked', hasRoom: true, node: 'b' })
  })

  it('stays closed after the welcome of a former leader, and knocks at the present one', async () => {
    const { gate, leader } = aGate()
    gate.close(leader)
    const atWelcome = gate.closings()
    const next = {
      queue: createProbe<QueueMessage>('queue'),
      fleet: createProbe<FleetMessage>('fleet'),
    }
    gate.close({ queue: next.queue.ref, fleet: next.fleet.ref })
    gate.open(atWelcome)
    expect(tell(gate.queue, { type: 'caretakerReady' })).toBe(false)
    await next.fleet.next()
    await next.fleet.next()
    gate.open(gate.closings())
    expect(tell(gate.queue, { type: 'caretakerReady' })).toBe(true)
  })

  it('tells each leader that welcomes the node that it is leaving', async () => {
    const { gate, leader, fleet } = aGate()
    gate.close(leader)
    gate.open(gate.closings())
    gate.leave()
    gate.reopen()
    gate.open(gate.closings())
    const leavings = () => fleet.told.filter(({ type }) => type === 'leaving')
    await vi.waitFor(() => expect(leavings()).toHaveLength(2))
  })
})

function aGate() {
  const queue = createProbe<QueueMessage>('queue')
  const fleet = createProbe<FleetMessage>('fleet')
  const gate = createGate({ node: 'b' as NodeName, session: () => 7 }, 5)
  onTestFinished(gate.stop)
  return { gate, queue, fleet, leader: { queue: queue.ref, fleet: fleet.ref } }
}
