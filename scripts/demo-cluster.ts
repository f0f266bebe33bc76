/** `make demo-cluster`: three nodes with one queue on this machine, the leader of which is killed. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { postgresMissing, startPostgresServer } from '../bench/postgres.ts'
import { runClusterDemo } from './cluster-demo/demo.ts'
import type { DemoNode } from './cluster-demo/node.ts'

const root = join(import.meta.dirname, '..')
const { values } = parseArgs({
  options: {
    // Tests have a place of their own for what they build and download.
    program: { type: 'string', default: join(root, 'dist', 'main.js') },
    into: { type: 'string', default: join(root, 'data', 'demo-cluster') },
    frames: { type: 'string', default: '81' },
  },
})

const missing = postgresMissing()
if (missing === undefined) await run()
else {
  console.error(`The demo of a cluster needs PostgreSQL. ${missing}. Then run it again.`)
  process.exitCode = 1
}

async function run(): Promise<void> {
  const interrupted = new Promise<never>((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => reject(new Error(`It was interrupted by ${signal}.`)))
    }
  })
  interrupted.catch(() => {})
  const launched: DemoNode[] = []
  let hasEnded = false
  const directory = mkdtempSync(join(tmpdir(), 'wan-demo-cluster-'))
  try {
    await using server = await startPostgresServer()
    console.log('PostgreSQL runs on 127.0.0.1, with an empty database.')
    try {
      const demo = runClusterDemo({
        ...values,
        frames: Number(values.frames),
        databaseUrl: await server.createDatabase(),
        directory,
        onLaunch(node) {
          launched.push(node)
          // Nobody would end it.
          if (hasEnded) void node.kill()
        },
        say: console.log,
      })
      if (!(await Promise.race([demo, interrupted]))) process.exitCode = 1
    } finally {
      hasEnded = true
      await Promise.all(launched.map((node) => node.stop()))
      for (const node of launched) node.clearAway()
    }
  } catch (error) {
    console.error(`The demo failed. ${error instanceof Error ? error.message : error}`)
    process.exitCode = 1
  } finally {
    rmSync(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  }
  // A demo that was interrupted still waits for its nodes.
  process.exit()
}
