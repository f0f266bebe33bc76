import { expect, it } from 'vitest'
import { ask, createPlace } from '../../../src/actors/actor.ts'
import type { ArchiveMessage } from '../../../src/actors/archive/archive-protocol.ts'
import type { EtaMessage } from '../../../src/actors/eta/eta-protocol.ts'
import { eventBehaviour } from '../../../src/actors/event/event-actor.ts'
import type { LiveMessage } from '../../../src/actors/event/event-protocol.ts'
import { anActor } from '../../support/jobs.ts'
import { createProbe } from '../../support/probe.ts'

it('rejects a watch and logs the error when the archive is not running', async () => {
  const warnings: object[] = []
  const ignore = () => {}
  const { ref } = anActor(
    'events',
    eventBehaviour({
      archive: createPlace<ArchiveMessage>('archive'),
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
    message: 'the archive could not be asked',
    cause: { message: 'archive is not running' },
  })
  expect(warnings).toMatchObject([{ err: { message: 'archive is not running' } }])
})
