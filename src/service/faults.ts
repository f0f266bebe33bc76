import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ActorRef } from '../actors/actor-ref.ts'
import { tell } from '../actors/actor-ref.ts'
import type { Config } from '../config/config.ts'

/**
 * For crash tests: SIGUSR2 sends the actor that the file `crash` in the data directory names a message that it does
 * not survive.
 */
export function injectFaults(
  { dataDir }: Config,
  places: () => readonly ActorRef<never>[],
  resources: AsyncDisposableStack,
): void {
  const crashOne = () => {
    const name = readFileSync(join(dataDir, 'crash'), 'utf8').trim()
    const victim = places().find((place) => place.name === name)
    if (victim) tell(victim, null as never)
  }
  process.on('SIGUSR2', crashOne)
  resources.defer(() => void process.off('SIGUSR2', crashOne))
}
