/** Nodes that take part in an election, as processes that a test can kill or stop. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { onTestFinished, vi } from 'vitest'

export type ElectionEvent = Readonly<{
  event: 'leads' | 'follows' | 'deposed' | 'committed' | 'fenced' | 'time'
  term: number
  databaseMs?: number
  wallMs?: number
  node?: string
  why?: string
}>

const program = join(import.meta.dirname, '../../../bench/performance/election-process.ts')

type NodeOptions = Readonly<{ home?: string; lostMs?: number; env?: NodeJS.ProcessEnv }>

export function anElectionNode(
  url: string,
  name: string,
  { home = name, lostMs = 1_200, env = {} }: NodeOptions = {},
) {
  const child = spawn(process.execPath, [program, url, name, home, String(lostMs)], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  })
  const events: ElectionEvent[] = []
  createInterface({ input: child.stdout }).on('line', (line) => events.push(JSON.parse(line)))
  const exited = once(child, 'exit')
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await exited
  })
  return {
    name,
    events,
    child,
    exited,
    order: (line: 'commit' | 'resign' | 'time') => void child.stdin.write(`${line}\n`),
    /** The event of this kind, once it has happened. */
    happens: (event: ElectionEvent['event'], after = 0) =>
      vi.waitFor(
        () => {
          const found = events.slice(after).find((happened) => happened.event === event)
          if (!found) throw new Error(`${name}: no "${event}" in ${JSON.stringify(events)}`)
          return found
        },
        { timeout: 15_000, interval: 10 },
      ),
  }
}

export type ElectionNode = ReturnType<typeof anElectionNode>

/** Resolves with the one of these nodes that leads. */
export const theLeaderOf = (nodes: readonly ElectionNode[]): Promise<ElectionNode> =>
  vi.waitFor(
    () => {
      const leaders = nodes.filter(({ events }) => events.some(({ event }) => event === 'leads'))
      if (leaders.length !== 1 || !leaders[0]) throw new Error(`${leaders.length} nodes lead`)
      return leaders[0]
    },
    { timeout: 15_000, interval: 10 },
  )
