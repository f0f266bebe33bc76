/** `node simulated-nodes.ts URL NODES GPUS STEPS`: nodes of a cluster in one process. Prints their counts each second. */
import * as v from 'valibot'
import type { Mail } from '../../../src/cluster/mail.ts'
import { NodeName } from '../../../src/domain/node.ts'
import { startSimulatedNode } from './simulated-node.ts'
import type { WorkCounts } from './simulated-work.ts'

/** Sums over all nodes. */
export type NodeCounts = Readonly<WorkCounts> &
  Readonly<{ nodes: number; posted: number; received: number; missed: number; dropped: number }>

/** Nodes that join at once: each joins as soon as another one has joined. */
const atOnce = 10

/** Loads that each node takes at once. */
const maxLoads = 4

if (import.meta.main) {
  const [url = '', nodes = '', gpus = '', steps = ''] = process.argv.slice(2)
  const quiet = () => {}
  const counts: WorkCounts = { generating: 0, generated: 0, converted: 0 }
  const mails: Mail[] = []
  const names = Array.from({ length: Number(nodes) }, (_, n) => v.parse(NodeName, `node-${n}`))
  setInterval(() => {
    process.stdout.write(`${JSON.stringify(countAll(mails, counts))}\n`)
  }, 1_000)
  const joinAll = async () => {
    for (let name = names.shift(); name; name = names.shift()) {
      mails.push(
        await startSimulatedNode({
          ...{ url, name, gpus: Number(gpus), maxLoads, counts },
          // Ends are spread over the length of a generation from the beginning.
          firstStep: () => Math.floor(Math.random() * Number(steps)),
          log: { debug: quiet, info: quiet, warn: quiet, error: say },
        }),
      )
    }
  }
  await Promise.all(Array.from({ length: atOnce }, joinAll))
}

function countAll(mails: readonly Mail[], work: WorkCounts): NodeCounts {
  const all = mails.map((mail) => mail.counts())
  const sum = (key: 'posted' | 'received' | 'missed' | 'dropped') =>
    all.reduce((total, counts) => total + counts[key], 0)
  return {
    ...work,
    nodes: mails.length,
    ...{ posted: sum('posted'), received: sum('received') },
    ...{ missed: sum('missed'), dropped: sum('dropped') },
  }
}

function say(fields: object, phrase: string): void {
  process.stderr.write(`${phrase} ${JSON.stringify(fields)}\n`)
}
