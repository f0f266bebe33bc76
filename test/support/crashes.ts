/** Actors that crash, in services with FAULT_INJECTION. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'vitest'
import type { GpuJson } from '../../src/http/views/gpu-view.ts'
import type { Service } from './service.ts'

/** Crashes the actor of each GPU whenever it is back; more than five times within a minute are too many. */
export async function crashUntilGivenUp(service: Service, ids: readonly number[]): Promise<void> {
  const actorOf = async (id: number) => {
    const { gpus } = await service.json<{ gpus: GpuJson[] }>('/gpus')
    return gpus.find((gpu) => gpu.id === id)?.actor
  }
  const left = new Set(ids)
  while (left.size > 0) {
    for (const id of left) {
      const before = await actorOf(id)
      if (before?.state === 'given_up') left.delete(id)
      if (before?.state !== 'running') continue
      writeFileSync(join(service.dataDir, 'crash'), `gpu-${id}`)
      service.child.kill('SIGUSR2')
      await expect.poll(() => actorOf(id)).not.toMatchObject({ state: 'running' })
    }
    await delay(50)
  }
}
