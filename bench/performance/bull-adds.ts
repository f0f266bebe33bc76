/** How many jobs a second BullMQ takes, each on disk before it is answered for. */
import { setTimeout as delay } from 'node:timers/promises'
import { quantile } from './figures.ts'
import type { Load } from './load.ts'
import { importPeer, queueName } from './queue/peers.ts'
import { startRedis } from './queue/servers.ts'

export type Adds = Pick<Load, 'perSecond' | 'p50' | 'p99'>

/** By so many that add one job after the other over one client, as its users do; from here. */
export async function bullAdds(adders: number, seconds: number): Promise<Adds> {
  const { Queue } = await importPeer('bullmq')
  await using server = await startRedis()
  const queue = new Queue(queueName, { connection: server.connection })
  let count = 0
  let isOver = false
  let took: number[] = []
  const add = async () => {
    while (!isOver) {
      const begun = performance.now()
      await queue.add('video', { n: ++count })
      took.push(performance.now() - begun)
    }
  }
  try {
    const all = Promise.all(Array.from({ length: adders }, add))
    // The first second is for the compiler.
    await Promise.race([all, delay(1_000)])
    took = []
    const begun = performance.now()
    await Promise.race([all, delay(seconds * 1_000)])
    const [during, elapsed] = [took, performance.now() - begun]
    took = []
    isOver = true
    await all
    const waiting = await queue.getWaitingCount()
    if (waiting !== count) throw new Error(`of ${count} jobs ${waiting} are there`)
    return {
      perSecond: (during.length / elapsed) * 1_000,
      p50: quantile(during, 0.5),
      p99: quantile(during, 0.99),
    }
  } finally {
    await queue.close()
  }
}
