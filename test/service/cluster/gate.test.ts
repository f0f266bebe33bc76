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
      expect(await fleet.next()).toEqual({ type: 'knocked', node: 'b', session: 7, turn: 1 })
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

  it('knocks less and less often, and at once with another turn when letters were lost', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    onTestFinished(() => void vi.useRealTimers())
    const { gate, leader, fleet } = aGate(1_000)
    const nextTurns = async (count: number) => {
      const knocks: FleetMessage[] = []
      while (knocks.length < count) knocks.push(await fleet.next())
      return knocks.map((knock) => knock.type === 'knocked' && knock.turn)
    }
    gate.close(leader)
    vi.advanceTimersByTime(31_500)
    gate.reopen()
    vi.advanceTimersByTime(1_000)
    // At 0, 1, 3, 7, 15, 23 and 31 seconds, and then at once and after a second.
    expect(await nextTurns(9)).toEqual([1, 1, 1, 1, 1, 1, 1, 2, 2])
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

function aGate(knockMs = 5) {
  const queue = createProbe<QueueMessage>('queue')
  const fleet = createProbe<FleetMessage>('fleet')
  const gate = createGate({ node: 'b' as NodeName, session: () => 7 }, knockMs)
  onTestFinished(gate.stop)
  return { gate, queue, fleet, leader: { queue: queue.ref, fleet: fleet.ref } }
}
