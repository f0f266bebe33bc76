/** Servers that other queues need, with what they have confirmed of their settings. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { postgresMissing, startPostgresServer } from '../../postgres.ts'
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
  if (postgresMissing() !== undefined) throw new NotInstalled('PostgreSQL', 'postgresql')
  const { port, password, pid, query, [Symbol.asyncDispose]: end } = await startPostgresServer()
  const show = async (name: string) => {
    const [row] = await query<Record<string, string>>('postgres', `show ${name}`)
    return row?.[name]
  }
  const version = (await show('server_version'))?.split(' ')[0]
  const confirmed = [
    `fsync ${await show('fsync')}`,
    `synchronous_commit ${await show('synchronous_commit')}`,
  ]
  return {
    what: `PostgreSQL ${version} (${confirmed.join(', ')})`,
    connection: { host: loopback, port, password, user: 'postgres', database: 'postgres' },
    cpu: () => cpuOfTree(pid()),
    [Symbol.asyncDispose]: end,
  }
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
