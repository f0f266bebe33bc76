/** Other queues: npm packages that only this benchmark needs, from the `package.json` of `bench/`. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export const queueName = 'jobs'

export type Connection = Readonly<{
  host: string
  port: number
  password: string
  user?: string
  database?: string
}>

/** What is used of them: their own types are there only where they are installed. */
type Peers = {
  bullmq: {
    Queue: new (
      name: string,
      options: { connection: Connection },
    ) => {
      add(name: string, data: { n: number }): Promise<unknown>
      getWaitingCount(): Promise<number>
      close(): Promise<void>
    }
    QueueEvents: new (
      name: string,
      options: { connection: Connection },
    ) => {
      waitUntilReady(): Promise<unknown>
      on(event: 'completed' | 'failed', then: (event: { jobId: string }) => void): void
      close(): Promise<void>
    }
    Worker: new (
      name: string,
      work: (job: { data: { n: number } }) => Promise<void>,
      options: { connection: Connection; concurrency: number },
    ) => { waitUntilReady(): Promise<unknown> }
  }
  'pg-boss': {
    PgBoss: new (
      options: Connection,
    ) => {
      start(): Promise<unknown>
      createQueue(name: string): Promise<void>
      send(name: string, data: { n: number }): Promise<string | null>
      fetch<Data>(name: string): Promise<{ id: string; data: Data }[]>
      complete(name: string, id: string): Promise<unknown>
      stop(): Promise<void>
    }
  }
  ioredis: {
    Redis: new (
      options: Connection,
    ) => {
      call(...command: string[]): Promise<unknown>
      quit(): Promise<unknown>
      on(event: 'error', then: () => void): void
    }
  }
}

export const importPeer = async <Name extends keyof Peers>(name: Name): Promise<Peers[Name]> =>
  import(name as string)

const bench = join(import.meta.dirname, '..', '..')

type Package = { version: string; dependencies: Record<string, string> }

/** In the versions that `bench/package.json` asks for, unless they are there. */
export function installPeers(): void {
  const { dependencies } = readPackage(bench)
  if (Object.entries(dependencies).every(([name, version]) => versionOfPeer(name) === version))
    return
  // Not `ci`, which wants packages for other systems in the lock file that npm has not put there.
  const { status, stderr } = spawnSync('npm', ['install', '--ignore-scripts', '--no-save'], {
    cwd: bench,
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`npm install in bench/: ${stderr}`)
}

/** Nothing where it is not installed. */
export function versionOfPeer(name: string): string | undefined {
  try {
    return readPackage(join(bench, 'node_modules', name)).version
  } catch {
    return undefined
  }
}

const readPackage = (directory: string): Package =>
  JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'))
