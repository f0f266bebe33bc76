import { expect, it } from 'vitest'
import { ask, createPlace } from '../../../src/actors/actor.ts'
import type { EtaMessage } from '../../../src/actors/eta/eta-protocol.ts'
import { eventBehaviour } from '../../../src/actors/event/event-actor.ts'
import type { LiveMessage } from '../../../src/actors/event/event-protocol.ts'
import type { QueueMessage } from '../../../src/actors/queue/queue-protocol.ts'
import { anActor } from '../../support/jobs.ts'
import { createProbe } from '../../support/probe.ts'

it('rejects a watch and logs the error when the queue is not running', async () => {
  const warnings: object[] = []
  const ignore = () => {}
  const { ref } = anActor(
    'events',
    eventBehaviour({
      queue: createPlace<QueueMessage>('queue'),
      eta: createPlace<EtaMessage>('eta'),
      log: {
        debug: ignore,
        info: ignore,
        warn: (fields) => void warnings.push(fields),
        error: ignore,
      },
    }),
  )
  const watcher = createProbe<LiveMessage>('watcher').ref
  await expect(ask(ref, { type: 'watch', watcher, scope: 'everything' })).rejects.toMatchObject({
    message: 'the queue could not be asked',
    cause: { message: 'queue is not running' },
  })
  expect(warnings).toMatchObject([{ err: { message: 'queue is not running' } }])
})
