import { setTimeout as delay } from 'node:timers/promises'
import pLimit from 'p-limit'
import { Client } from 'pg'
import { type Contender, submittedAtOnce } from './contender.ts'
import { importPeer, queueName, versionOfPeer } from './peers.ts'
import { startPostgres } from './servers.ts'
import { startWorker } from './worker-process.ts'

export const pgBoss: Contender = {
  name: 'pg-boss, PostgreSQL',
  async open(directory) {
    const { PgBoss } = await importPeer('pg-boss')
    await using started = new AsyncDisposableStack()
    const server = started.use(await startPostgres())
    const boss = new PgBoss(server.connection)
    started.defer(() => boss.stop())
    await boss.start()
    await boss.createQueue(queueName)
    const worker = started.use(await startWorker('pg-boss', directory, server.connection))
    const client = new Client(server.connection)
    await client.connect()
    started.defer(() => client.end())
    const all = started.move()
    let completed = 0
    return {
      what: `pg-boss ${versionOfPeer('pg-boss')}, ${server.what}`,
      async run(jobs) {
        const limit = pLimit(submittedAtOnce)
        await Promise.all(jobs.map((n) => limit(() => boss.send(queueName, { n }))))
        completed += jobs.length
        await Promise.race([untilCompleted(), worker.failed])
      },
      cpu: () => server.cpu() + worker.cpu(),
      close: () => all.disposeAsync(),
    }

    async function untilCompleted(): Promise<void> {
      const count = "select count(*)::int as n from pgboss.job where state = 'completed'"
      while ((await client.query<{ n: number }>(count)).rows[0]?.n !== completed) await delay(50)
    }
  },
}
