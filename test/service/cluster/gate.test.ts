import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { tell } from '../../../src/actors/actor.ts'
import type { QueueMessage } from '../../../src/actors/queue/queue-protocol.ts'
import type { NodeName } from '../../../src/domain/node.ts'
import type { FleetMessage } from '../../../src/service/cluster/fleet-protocol.ts'
import { createGate, type Gate } from '../../../src/service/cluster/gate.ts'
import { createProbe } from '../../support/probe.ts'

describe('the gate of a node', () => {
  it('knocks at the leader until the queue welcomes the node, and lets news pass only then', async () => {
    const { gate, leader, fleet, queue } = aGate()
    gate.close(leader)
    expect(tell(gate.queue, { type: 'caretakerReady' })).toBe(false)
    for (let n = 0; n < 3; n++) {
      expect(await fleet.next()).toEqual({ type: 'knocked', node: 'b', session: 7 })
    }
    welcome(gate)
    expect(tell(gate.queue, { type: 'caretakerReady' })).toBe(true)
    expect(await queue.next()).toEqual({ type: 'caretakerReady' })
  })

  it('signs news of the machine with the name of the node', async () => {
    const { gate, leader, queue } = aGate()
    gate.close(leader)
    welcome(gate)
    tell(gate.queue, { type: 'roomChecked', hasRoom: true })
    expect(await queue.next()).toEqual({ type: 'roomChecked', hasRoom: true, node: 'b' })
  })

  it('stays closed after the welcome of a former leader, and knocks at the present one', async () => {
    const { gate, leader } = aGate()
    gate.close(leader)
    gate.welcomed()
    const next = {
      queue: createProbe<QueueMessage>('queue'),
      fleet: createProbe<FleetMessage>('fleet'),
    }
    gate.close({ queue: next.queue.ref, fleet: next.fleet.ref })
    gate.open()
    expect(tell(gate.queue, { type: 'caretakerReady' })).toBe(false)
    await next.fleet.next()
    await next.fleet.next()
    welcome(gate)
    expect(tell(gate.queue, { type: 'caretakerReady' })).toBe(true)
  })

  it('stays closed when letters were lost since the welcome', () => {
    const { gate, leader } = aGate()
    gate.close(leader)
    gate.open()
    expect(tell(gate.queue, { type: 'caretakerReady' })).toBe(false)
    gate.welcomed()
    gate.reopen()
    gate.open()
    expect(tell(gate.queue, { type: 'caretakerReady' })).toBe(false)
  })

  it('does not knock after its end', () => {
    const { gate, leader, fleet } = aGate()
    gate.close(leader)
    gate.stop()
    const told = fleet.told.length
    gate.reopen()
    expect(fleet.told).toHaveLength(told)
  })

  it('tells each leader that welcomes the node that it is leaving', async () => {
    const { gate, leader, fleet } = aGate()
    gate.close(leader)
    welcome(gate)
    gate.leave()
    gate.reopen()
    welcome(gate)
    const leavings = () => fleet.told.filter(({ type }) => type === 'leaving')
    await vi.waitFor(() => expect(leavings()).toHaveLength(2))
  })
})

function welcome(gate: Gate): void {
  gate.welcomed()
  gate.open()
}

function aGate() {
  const queue = createProbe<QueueMessage>('queue')
  const fleet = createProbe<FleetMessage>('fleet')
  const gate = createGate({ node: 'b' as NodeName, session: () => 7 }, 5)
  onTestFinished(gate.stop)
  return { gate, queue, fleet, leader: { queue: queue.ref, fleet: fleet.ref } }
}
