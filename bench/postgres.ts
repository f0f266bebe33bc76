/** A PostgreSQL server for tests and benchmarks: Debian's package, on loopback, in a directory of its own. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  accessSync,
  appendFileSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import { freePort, loopback } from './performance/free-port.ts'

export type PostgresServer = Awaited<ReturnType<typeof startPostgresServer>>

/** Reason to skip tests and benchmarks that need a server; undefined: PostgreSQL is installed. */
export const postgresMissing = (): string | undefined =>
  postgresBin() === undefined
    ? 'PostgreSQL is not installed; on Debian: apt install postgresql'
    : undefined

type ServerOptions = Readonly<{
  /** False: it waits for no disk, for tests that kill no server. */
  isDurable?: boolean
  maxConnections?: number
  /** Directory in which its own is created, for instance on a small disk. */
  under?: string
  /** Address that it listens at besides loopback, with the network of its clients. */
  reach?: Readonly<{ address: string; network: string }>
  /** Settings of PostgreSQL, as `name=value`. */
  more?: readonly string[]
}>

/** Starts a server with a random password, since others on the machine can reach it too. */
export async function startPostgresServer({
  isDurable = true,
  maxConnections = 200,
  under = tmpdir(),
  reach,
  more = [],
}: ServerOptions = {}) {
  const bin = postgresBin()
  if (bin === undefined) throw new Error(postgresMissing())
  const directory = mkdtempSync(join(under, 'wan-postgres-'))
  const data = join(directory, 'data')
  const passwordFile = join(directory, 'password')
  const password = randomBytes(16).toString('hex')
  const port = await freePort()
  const asUser = process.getuid?.() === 0 ? { uid: idOf('-u'), gid: idOf('-g') } : {}
  mkdirSync(data, { mode: 0o700 })
  writeFileSync(passwordFile, password, { mode: 0o600 })
  // It refuses to run as root.
  for (const path of [directory, data, passwordFile]) {
    if (asUser.uid !== undefined) chownSync(path, asUser.uid, asUser.gid)
  }
  const initdb = [
    ...['-D', data, '-U', user, '-A', 'scram-sha-256', '--pwfile', passwordFile],
    ...['-E', 'UTF8', '--locale', 'C', '--no-sync'],
  ]
  execFileSync(join(bin, 'initdb'), initdb, { ...asUser, cwd: directory, stdio: 'ignore' })
  if (reach) {
    appendFileSync(join(data, 'pg_hba.conf'), `host all all ${reach.network} scram-sha-256\n`)
  }
  const addresses = [loopback, ...(reach ? [reach.address] : [])]
  const settings = [
    ...['-D', data, '-p', `${port}`, '-k', directory],
    ...[
      `listen_addresses=${addresses.join(',')}`,
      `max_connections=${maxConnections}`,
      ...(isDurable ? [] : ['fsync=off', 'full_page_writes=off']),
      ...more,
    ].flatMap((setting) => ['-c', setting]),
  ]
  const url = (database: string) =>
    `postgres://${user}:${password}@${loopback}:${port}/${encodeURIComponent(database)}`
  let child = await answering(launch())

  return {
    port,
    password,
    /** Its process, and each of its connections as a child of that. */
    pid: () => child.pid ?? 0,
    isUp: () => !hasEnded(child),
    url,
    /** Creates an empty database and returns its URL. `directory`: on another disk, for its tables alone. */
    async createDatabase({ directory }: { directory?: string } = {}): Promise<string> {
      const name = `wan_${randomBytes(6).toString('hex')}`
      let place = ''
      if (directory !== undefined) {
        if (asUser.uid !== undefined) chownSync(directory, asUser.uid, asUser.gid)
        await query('postgres', `create tablespace ${name} location '${directory}'`)
        place = ` tablespace ${name}`
      }
      await query('postgres', `create database ${name}${place}`)
      return url(name)
    },
    query,
    /** Ends it; `SIGKILL` is a crash of the server with all its connections. */
    stop,
    async restart(): Promise<void> {
      await stop('SIGINT')
      child = await answering(launch())
    },
    /** Sends a signal to the server and to each of its connections, for instance to freeze them. */
    signal(name: NodeJS.Signals): void {
      for (const pid of treeOf(child.pid ?? 0)) {
        try {
          process.kill(pid, name)
        } catch {
          // A connection that has just ended.
        }
      }
    },
    /** Starts it again after `stop`, or after it ended by itself. Resolves when it answers. */
    async startAgain(): Promise<void> {
      child = await answering(hasEnded(child) ? launch() : child)
    },
    async [Symbol.asyncDispose]() {
      await stop('SIGINT')
      rmSync(directory, { recursive: true, force: true })
    },
  }

  function launch(): ChildProcess {
    const program = join(bin ?? '', 'postgres')
    return spawn(program, settings, { ...asUser, cwd: directory, stdio: 'ignore' })
  }

  async function answering(server: ChildProcess): Promise<ChildProcess> {
    let started = server
    for (let patience = 400; ; patience--) {
      // The memory of a server that was killed is in use until its connections have ended.
      if (hasEnded(started)) started = launch()
      const client = aClient('postgres')
      try {
        await client.connect()
        await client.end()
        return started
      } catch (error) {
        if (patience === 0) throw error
        await delay(25)
      }
    }
  }

  async function stop(signal: NodeJS.Signals): Promise<void> {
    if (hasEnded(child)) return
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }

  /** A server that is killed ends its connections with an error, which the statement under way tells too. */
  function aClient(database: string): Client {
    const client = new Client(url(database))
    client.on('error', () => {})
    return client
  }

  async function query<Row extends object>(database: string, text: string): Promise<Row[]> {
    const client = aClient(database)
    await client.connect()
    try {
      return (await client.query<Row>(text)).rows
    } finally {
      await client.end()
    }
  }
}

const user = 'postgres'

const hasEnded = ({ exitCode, signalCode }: ChildProcess): boolean =>
  exitCode !== null || signalCode !== null

function treeOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return [pid, ...children.split(' ').filter(Boolean).map(Number)]
}

/** Debian keeps its programs out of the path, those of each version for themselves. */
function postgresBin(): string | undefined {
  const root = '/usr/lib/postgresql'
  try {
    const newest = readdirSync(root)
      .toSorted((a, b) => Number(a) - Number(b))
      .at(-1)
    const bin = join(root, newest ?? '', 'bin')
    accessSync(join(bin, 'postgres'))
    return bin
  } catch {
    return undefined
  }
}

const idOf = (which: '-u' | '-g'): number =>
  Number(execFileSync('id', [which, 'postgres'], { encoding: 'utf8' }))
