import { expect, it } from 'vitest'
import { restoreQueue } from '../../../src/actors/queue/queue-restore.ts'
import type { NodeName } from '../../../src/domain/node.ts'
import { queueSettings } from '../../support/jobs.ts'

it('the state of the queue holds only the settings of the queue, and no token', () => {
  const stored = {
    nextSeq: 1,
    waiting: [],
    running: [],
    gpus: new Map(),
    drainedNodes: new Set<NodeName>(),
    lost: [],
    submissions: [],
  }
  const config = { ...queueSettings, clients: [{ name: 'ada', tokenDigest: Buffer.from('x') }] }
  expect(restoreQueue(config, stored).settings).toEqual(queueSettings)
})
