/** The process that does the jobs of a queue: node worker.ts QUEUE DIRECTORY, with IPC. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import pLimit from 'p-limit'
import { noopDir, noopEnvironment, python } from '../noop.ts'
import { gpus } from './contender.ts'
import { type Connection, importPeer, queueName } from './peers.ts'
import { createWork } from './work.ts'

const [queue, directory = ''] = process.argv.slice(2)
const where = JSON.parse(process.env.QUEUE_CONNECTION ?? '{}') as Connection
delete process.env.QUEUE_CONNECTION
const work = createWork(directory)

// Whoever started it has ended.
process.once('disconnect', () => process.exit())

if (queue === 'bullmq') await serveBullMq()
else if (queue === 'pg-boss') await servePgBoss()
else if (queue === 'pool') servePool(work)
else servePool(generateOnly)
process.send?.('ready')

async function serveBullMq(): Promise<void> {
  const { Worker } = await importPeer('bullmq')
  const worker = new Worker(queueName, ({ data }) => work(data.n), {
    connection: where,
    concurrency: gpus.length,
  })
  await worker.waitUntilReady()
}

/** Its own worker looks for jobs every half second at most: that would be all there is to measure. */
async function servePgBoss(): Promise<void> {
  const { PgBoss } = await importPeer('pg-boss')
  const boss = new PgBoss(where)
  await boss.start()
  for (const _ of gpus) {
    void (async () => {
      for (;;) {
        const [job] = await boss.fetch<{ n: number }>(queueName)
        if (!job) await delay(20)
        else {
          await work(job.data.n)
          await boss.complete(queueName, job.id)
        }
      }
    })()
  }
}

/** What is asked for is all in memory. */
function servePool(run: (n: number) => Promise<void>): void {
  const limit = pLimit(gpus.length)
  process.on('message', async (jobs: number[]) => {
    await Promise.all(jobs.map((n) => limit(() => run(n))))
    process.send?.('done')
  })
}

/** No shim, no conversion: the script started and waited for. */
async function generateOnly(n: number): Promise<void> {
  const args = ['generate.py', '--save_file', `${directory}/results/${n}.mp4`]
  const env = { PATH: process.env.PATH, ...noopEnvironment(directory) }
  const child = spawn(python, args, { cwd: noopDir, env, stdio: 'ignore' })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`job ${n}: exit code ${code}`)
}
