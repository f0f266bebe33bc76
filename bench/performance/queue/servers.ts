/** Servers that other queues need, with what they have confirmed of their settings. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { accessSync, chownSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { cpuOfTree } from '../../process-cpu.ts'
import { aDirectory, removeDirectory } from '../../service.ts'
import { freePort, loopback } from '../free-port.ts'
import { versionOf } from '../machine.ts'
import { NotInstalled } from './contender.ts'
import { type Connection, importPeer } from './peers.ts'

export type Server = Readonly<{
  what: string
  connection: Connection
  cpu(): number
}> &
  AsyncDisposable

/** Every write on disk before it is answered. */
export async function startRedis(): Promise<Server> {
  if (!isInstalled('redis-server')) throw new NotInstalled('redis-server', 'redis-server')
  const directory = aDirectory()
  const connection = await onLoopback()
  const settings = [
    ...[`bind ${connection.host}`, `port ${connection.port}`, `dir ${directory}`, 'save ""'],
    ...[`requirepass ${connection.password}`, 'maxmemory-policy noeviction'],
    ...['appendonly yes', 'appendfsync always'],
  ]
  const child = spawn('redis-server', ['-'], { stdio: ['pipe', 'ignore', 'ignore'] })
  // Its arguments could be read by others.
  child.stdin.end(settings.join('\n'))
  await using started = new AsyncDisposableStack()
  started.defer(() => end(child, 'SIGTERM', directory))
  const { Redis } = await importPeer('ioredis')
  const client = new Redis(connection)
  client.on('error', () => {}) // Until it listens; then it connects by itself.
  const get = async (name: string) => [await client.call('CONFIG', 'GET', name)].flat().join(' ')
  const confirmed = [await get('appendonly'), await get('appendfsync')]
  await client.quit()
  const version = /v=(\S+)/.exec(versionOf('redis-server', ['--version']))?.[1]
  const what = `Redis ${version} (${confirmed.join(', ')})`
  return serverOf(child, started.move(), what, connection)
}

/** With its defaults, which are the durable ones. */
export async function startPostgres(): Promise<Server> {
  const bin = postgresBin()
  const directory = aDirectory()
  const user = 'postgres'
  const connection = { ...(await onLoopback()), user, database: 'postgres' }
  const asUser = process.getuid?.() === 0 ? { uid: idOf('-u'), gid: idOf('-g') } : {}
  const data = join(directory, 'data')
  const passwordFile = join(directory, 'password')
  mkdirSync(data, { mode: 0o700 })
  writeFileSync(passwordFile, connection.password, { mode: 0o600 })
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
    ...['-D', data, '-p', `${connection.port}`, '-k', directory],
    ...['-c', `listen_addresses=${connection.host}`],
  ]
  const child = spawn(join(bin, 'postgres'), settings, {
    ...asUser,
    cwd: directory,
    stdio: 'ignore',
  })
  await using started = new AsyncDisposableStack()
  started.defer(() => end(child, 'SIGINT', directory))
  const client = await connectToPostgres(connection)
  const show = async (name: string) => {
    const { rows } = await client.query<Record<string, string>>(`show ${name}`)
    return rows[0]?.[name]
  }
  const version = (await show('server_version'))?.split(' ')[0]
  const confirmed = [
    `fsync ${await show('fsync')}`,
    `synchronous_commit ${await show('synchronous_commit')}`,
  ]
  await client.end()
  const what = `PostgreSQL ${version} (${confirmed.join(', ')})`
  return serverOf(child, started.move(), what, connection)
}

const serverOf = (
  child: ChildProcess,
  started: AsyncDisposableStack,
  what: string,
  connection: Connection,
): Server => ({
  what,
  connection,
  cpu: () => cpuOfTree(child.pid ?? 0),
  [Symbol.asyncDispose]: () => started.disposeAsync(),
})

export async function connectToPostgres(connection: Connection) {
  const { Client } = (await importPeer('pg')).default
  for (let patience = 200; ; patience--) {
    const client = new Client(connection)
    try {
      await client.connect()
      return client
    } catch (error) {
      if (patience === 0) throw error
      await delay(50)
    }
  }
}

/** Debian keeps its programs out of the path, those of each version for themselves. */
function postgresBin(): string {
  const root = '/usr/lib/postgresql'
  try {
    const newest = readdirSync(root)
      .toSorted((a, b) => Number(a) - Number(b))
      .at(-1)
    const bin = join(root, newest ?? '', 'bin')
    accessSync(join(bin, 'postgres'))
    return bin
  } catch {
    throw new NotInstalled('PostgreSQL', 'postgresql')
  }
}

const idOf = (which: '-u' | '-g'): number =>
  Number(execFileSync('id', [which, 'postgres'], { encoding: 'utf8' }))

export const isInstalled = (program: string): boolean =>
  spawnSync('which', [program], { stdio: 'ignore' }).status === 0

/** A free port, and a password, since others on this machine can reach it too. */
async function onLoopback(): Promise<Connection> {
  const password = randomBytes(16).toString('hex')
  return { host: loopback, port: await freePort(), password }
}

async function end(child: ChildProcess, signal: NodeJS.Signals, directory: string) {
  if (child.exitCode === null && child.signalCode === null) {
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }
  removeDirectory(directory)
}
