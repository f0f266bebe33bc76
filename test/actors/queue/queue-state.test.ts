import { expect, it } from 'vitest'
import { restoreQueue } from '../../../src/actors/queue/queue-state.ts'
import { queueSettings } from '../../support/jobs.ts'

it('the state of the queue has the settings of the queue and no others, such as tokens', () => {
  const stored = { nextSeq: 1, waiting: [], running: [], gpus: new Map(), submissions: [] }
  const config = { ...queueSettings, clients: [{ name: 'ada', tokenDigest: Buffer.from('x') }] }
  expect(restoreQueue(config, stored).settings).toEqual(queueSettings)
})
