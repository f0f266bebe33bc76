/** The cost of a request through a node that does not lead. */
import type { ChildProcess } from 'node:child_process'
import { aDirectory, launchService, removeDirectory } from '../service.ts'
import { submit } from './client.ts'
import { median, ms, type Report } from './figures.ts'
import { type Load, load } from './load.ts'
import { running, start } from './polls.ts'

/** Short ones, in turn: what else the machine has to do comes and goes, and meets both. */
const rounds = 10
const seconds = 1
const warmUpSeconds = 2

/** One client that waits for each response, and many. */
const crowds = [1, 16] as const

type Found = Readonly<{ direct: Load; forwarded: Load }>

export async function forwarding(say: (line: string) => void): Promise<Report> {
  const directory = aDirectory()
  // So slow that the job runs as long as this takes.
  const service = launchService(directory, { SIM_SPEED: '0.1' })
  const others: ChildProcess[] = []
  try {
    const leader = await service.listening()
    const id = await submit(leader, { prompt: 'A poll through a node', size: '1280x720' })
    await running(leader, id)
    const follower = await start(others, ['follower.ts', leader])
    const rows = []
    for (const connections of crowds) {
      const found: Found[] = []
      for (let round = 0; round <= rounds; round++) {
        const poll = (url: string) =>
          load({
            ...{ url: `${url}/status/${id}`, connections },
            seconds: round === 0 ? warmUpSeconds : seconds,
          })
        const one = { direct: await poll(leader), forwarded: await poll(follower) }
        // The first is for the compiler.
        if (round === 0) continue
        found.push(one)
        say(`round ${round}, ${connections} connections: ${ms(one.forwarded.p50 - one.direct.p50)}`)
      }
      rows.push(rowOf(connections, found))
    }
    return {
      how: `${rounds} rounds of ${seconds} s, \`GET /status/{id}\` of a running job; medians of the rounds`,
      tables: [
        {
          head: [
            'connections',
            'leader, p50',
            'through a follower, p50',
            'p99',
            'added, p50',
            'a second',
          ],
          rows,
        },
      ],
    }
  } finally {
    for (const other of others) other.kill('SIGKILL')
    await service.kill()
    removeDirectory(directory)
  }
}

function rowOf(connections: number, found: readonly Found[]): string[] {
  const middle = (of: (one: Found) => number) => median(found.map(of))
  return [
    String(connections),
    ms(middle(({ direct }) => direct.p50)),
    ms(middle(({ forwarded }) => forwarded.p50)),
    ms(middle(({ forwarded }) => forwarded.p99)),
    ms(middle(({ direct, forwarded }) => forwarded.p50 - direct.p50)),
    middle(({ forwarded }) => forwarded.perSecond).toFixed(0),
  ]
}
