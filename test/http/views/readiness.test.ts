import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import type { Hold } from '../../../src/actors/queue/environment-state.ts'
import type { NodeCondition, QueueSummary } from '../../../src/actors/queue/queue-protocol.ts'
import type { Check, StandingCheck } from '../../../src/domain/check.ts'
import { type Member, NodeName } from '../../../src/domain/node.ts'
import { type Findings, readinessJson } from '../../../src/http/views/readiness.ts'
import { gpu0, gpu1, midnight } from '../../support/jobs.ts'

const [a, b] = [v.parse(NodeName, 'a'), v.parse(NodeName, 'b')]
const noScript: Check = { name: 'generate.py', ok: false, detail: 'Set WAN_DIR.' }
const script: Hold = { reason: 'environment', detail: 'generate.py: Set WAN_DIR.' }
const outage: Hold = { reason: 'environment', since: midnight, detail: 'EAGAIN' }
const full: Hold = { reason: 'disk', detail: 'Make room.' }

const member = (name: NodeName, role: Member['role'] = 'follower'): Member => ({
  ...{ name, url: `http://${name}`, version: '1.2.3', role, state: 'present' },
})

const condition = (name: NodeName, facts: Partial<NodeCondition> = {}): NodeCondition => ({
  ...{ name, gpus: [name === a ? gpu0 : gpu1], failed: [], ...facts },
})

const summary = (facts: Partial<QueueSummary> = {}): QueueSummary => ({
  ...{ open: true, hasRoom: true, waiting: 0, running: 0, usableGpus: [gpu0], slowLoads: [] },
  ...{ nodes: [condition(a), condition(b)], ...facts },
})

const standing = (...checks: Check[]): readonly StandingCheck[] =>
  checks.map((check) => ({ ...check, ageMs: 1_000 }))

function readiness(queue: QueueSummary, facts: Partial<Findings> = {}, isForClient = true) {
  const members = [member(a, 'leader'), member(b)]
  return readinessJson({ queue, standing: [], members, node: a, ...facts }, isForClient)
}

const failed = (json: ReturnType<typeof readiness>) =>
  json.checks.filter(({ ok }) => !ok).map(({ name, node }) => [name, node])

describe('the readiness of a cluster', () => {
  it('names the failed checks of a node, and holds while another node works', () => {
    const nodes = [condition(a), condition(b, { hold: script, failed: [noScript] })]
    const json = readiness(summary({ nodes }))
    expect(json.ready).toBe(true)
    expect(json.checks).toContainEqual({ ...noScript, age_seconds: 0, node: b })
    expect(failed(json)).toEqual([['generate.py', b]])
  })

  it('fails when checks fail on every node with GPUs, also while no job waits', () => {
    const nodes = [condition(a, { gpus: [] }), condition(b, { hold: script, failed: [noScript] })]
    const json = readiness(summary({ nodes, hold: script }))
    expect(json.ready).toBe(false)
    expect(failed(json)).toEqual([
      ['environment', undefined],
      ['generate.py', b],
    ])
    const { detail } = json.checks.find(({ name }) => name === 'environment') ?? {}
    expect(detail).toBe('No node starts jobs, because checks fail. b: generate.py: Set WAN_DIR.')
  })

  it('fails after failures on every node only while jobs wait, since the next one would probe', () => {
    const nodes = [condition(a, { hold: script }), condition(b, { hold: outage })]
    const queue = summary({ nodes, hold: script })
    expect(readiness(queue).ready).toBe(true)
    const json = readiness({ ...queue, waiting: 1 })
    expect(json.ready).toBe(false)
    const { detail } = json.checks.find(({ name }) => name === 'environment') ?? {}
    expect(detail).toContain('Jobs wait because a check fails. a: generate.py')
    expect(failed(readiness(queue))).toEqual([['environment', b]])
  })

  it('fails when one node is full and the environment fails on the other', () => {
    const nodes = [condition(a, { hold: full }), condition(b, { hold: script, failed: [noScript] })]
    const json = readiness(summary({ nodes, hold: full }))
    expect(json.ready).toBe(false)
    expect(failed(json)).toEqual([
      ['environment', undefined],
      ['disk', a],
      ['generate.py', b],
    ])
    expect(json.checks.find(({ name }) => name === 'disk')?.detail).toBe('has room')
  })

  it('has the checks of the leader once, with its name, and the database without', () => {
    const database = { name: 'database', ok: true, detail: 'written' }
    const nodes = [condition(a, { hold: script, failed: [noScript] }), condition(b)]
    const json = readiness(summary({ nodes }), { standing: standing(database, noScript) })
    expect(json.ready).toBe(true)
    expect(failed(json)).toEqual([['generate.py', a]])
    expect(json.checks).toContainEqual({ ...database, age_seconds: 1 })
  })

  it.each(['database', 'results'])('fails when %s of the leader fails', (name) => {
    const failing = { name, ok: false, detail: 'It does not respond.' }
    const json = readiness(summary(), { standing: standing(failing) })
    expect(json.ready).toBe(false)
    expect(failed(json)).toEqual([[name, undefined]])
  })

  it('names no node to callers without a token', () => {
    const nodes = [condition(a), condition(b, { hold: full })]
    const json = readiness(summary({ nodes }), {}, false)
    expect(failed(json)).toEqual([['disk', null]])
    expect(JSON.stringify(json)).not.toMatch(/"b"|Make room/)
  })
})

describe('the readiness of a single node', () => {
  it('fails with each of its checks, and names no node', () => {
    const nodes = [condition(a, { hold: script, failed: [noScript] })]
    const queue = summary({ nodes, hold: script })
    const facts = { members: [member(a, 'leader')], standing: standing(noScript) }
    const json = readiness(queue, facts)
    expect(json.ready).toBe(false)
    expect(json.checks.map((check) => Object.keys(check))).not.toContainEqual(
      expect.arrayContaining(['node']),
    )
    expect(failed(json)).toEqual([['generate.py', undefined]])
    expect(failed(readiness({ ...queue, waiting: 1 }, facts))).toEqual([
      ['environment', undefined],
      ['generate.py', undefined],
    ])
  })
})
