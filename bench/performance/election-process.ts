/**
 * A process that takes part in an election: `node election-process.ts URL NAME HOME`. It reports what happens as
 * lines of JSON. It commits under its fence when it reads "commit" from its standard input, and says what time it is
 * when it reads "time".
 */
import { createInterface } from 'node:readline'
import { Client } from 'pg'
import { openClusterDatabase } from '../../src/cluster/database.ts'
import { readDatabaseClock } from '../../src/cluster/database-clock.ts'
import { startElection } from '../../src/cluster/election.ts'
import { beginOf } from '../../src/infra/store/postgres/fence.ts'

const [url = '', name = '', home = '', lostMs = '3000'] = process.argv.slice(2)
const quiet = () => {}
const say = (fields: object) => process.stdout.write(`${JSON.stringify(fields)}\n`)
let term = 0

const database = await openClusterDatabase({ url })
const clock = await readDatabaseClock(database.beats)
const election = startElection({
  connection: database.beats,
  me: { name, home },
  clock,
  log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
  lostMs: Number(lostMs),
  beatMs: Number(lostMs) / 6,
  observer: {
    leads(mine) {
      term = mine
      say({ event: 'leads', term })
    },
    follows: (leader) => say({ event: 'follows', ...leader }),
    deposed(why) {
      say({ event: 'deposed', why })
      process.exit(1)
    },
  },
})

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'commit') await commit()
  if (line === 'time') say({ event: 'time', databaseMs: clock.now(), wallMs: Date.now() })
  if (line === 'resign') {
    await election.resign()
    process.exit(0)
  }
}

/** As the store commits: the fence comes first. */
async function commit(): Promise<void> {
  const client = new Client(url)
  await client.connect()
  const held = [await client.query(beginOf({ term }, { maxStatementMs: undefined }))].flat().at(-1)
  if (held?.rowCount === 1) await client.query('insert into written values ($1)', [term])
  await client.query(held?.rowCount === 1 ? 'commit' : 'rollback')
  await client.end()
  say({ event: held?.rowCount === 1 ? 'committed' : 'fenced', term })
}
