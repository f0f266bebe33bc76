/** A PostgreSQL server for tests and benchmarks: Debian's package, on loopback, in a directory of its own. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  accessSync,
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

/**
 * Starts a server with a random password, since others on the machine can reach it too. `isDurable: false`
 * waits for no disk: for tests that kill no server.
 */
export async function startPostgresServer({ isDurable = true, maxConnections = 200 } = {}) {
  const bin = postgresBin()
  if (bin === undefined) throw new Error(postgresMissing())
  const directory = mkdtempSync(join(tmpdir(), 'wan-postgres-'))
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
  const settings = [
    ...['-D', data, '-p', `${port}`, '-k', directory],
    ...['-c', `listen_addresses=${loopback}`, '-c', `max_connections=${maxConnections}`],
    ...(isDurable ? [] : ['-c', 'fsync=off', '-c', 'full_page_writes=off']),
  ]
  const url = (database: string) =>
    `postgres://${user}:${password}@${loopback}:${port}/${encodeURIComponent(database)}`
  let child = await start()

  return {
    port,
    password,
    /** Its process, and each of its connections as a child of that. */
    pid: () => child.pid ?? 0,
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
      child = await start()
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
    /** Starts it again after `stop`. */
    async startAgain(): Promise<void> {
      child = await start()
    },
    async [Symbol.asyncDispose]() {
      await stop('SIGINT')
      rmSync(directory, { recursive: true, force: true })
    },
  }

  async function start(): Promise<ChildProcess> {
    const program = join(bin ?? '', 'postgres')
    const launch = () => spawn(program, settings, { ...asUser, cwd: directory, stdio: 'ignore' })
    let started = launch()
    for (let patience = 400; ; patience--) {
      // The memory of a server that was killed is in use until its connections have ended.
      if (started.exitCode !== null) started = launch()
      const client = new Client(url('postgres'))
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
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }

  async function query<Row extends object>(database: string, text: string): Promise<Row[]> {
    const client = new Client(url(database))
    await client.connect()
    try {
      return (await client.query<Row>(text)).rows
    } finally {
      await client.end()
    }
  }
}

const user = 'postgres'

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
