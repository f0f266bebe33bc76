import pLimit from 'p-limit'
import { type Contender, submittedAtOnce } from './contender.ts'
import { importPeer, queueName, versionOfPeer } from './peers.ts'
import { startRedis } from './servers.ts'
import { startWorker } from './worker-process.ts'

export const bullMq: Contender = {
  name: 'BullMQ, Redis',
  async open(directory) {
    const { Queue, QueueEvents } = await importPeer('bullmq')
    await using started = new AsyncDisposableStack()
    const server = started.use(await startRedis())
    const { connection } = server
    const worker = started.use(await startWorker('bullmq', directory, connection))
    const queue = new Queue(queueName, { connection })
    started.defer(() => queue.close())
    const events = new QueueEvents(queueName, { connection })
    started.defer(() => events.close())
    await events.waitUntilReady()
    const all = started.move()
    let open = 0
    let tell = () => {}
    let fail = (_: Error) => {}
    events.on('completed', () => {
      open -= 1
      if (open === 0) tell()
    })
    events.on('failed', ({ jobId }) => fail(new Error(`job ${jobId} failed`)))
    return {
      what: `BullMQ ${versionOfPeer('bullmq')}, ${server.what}`,
      async run(jobs) {
        open = jobs.length
        const done = new Promise<void>((resolve, reject) => {
          tell = resolve
          fail = reject
        })
        const limit = pLimit(submittedAtOnce)
        await Promise.all(jobs.map((n) => limit(() => queue.add('video', { n }))))
        await Promise.race([done, worker.failed])
      },
      cpu: () => server.cpu() + worker.cpu(),
      close: () => all.disposeAsync(),
    }
  },
}
