/** How fast a video goes out, whole and in parts, and what of the CPU that takes; beside nginx. */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { writePast } from '../dashboard/past.ts'
import { cpuOf } from '../process-cpu.ts'
import { aDirectory, launchService, removeDirectory } from '../service.ts'
import { median, type Report, times } from './figures.ts'
import { freePort } from './free-port.ts'
import { load } from './load.ts'
import { versionOf } from './machine.ts'
import { until } from './wait.ts'

const rounds = 3
const seconds = 2
const connections = 4
const megabytes = 10
const filename = 'large.mp4'

type Server = Readonly<{ url: string; cpu(): number; stop(): Promise<void> }>
type Found = { megabytesPerSecond: number; perGigabyte: number }

/** What is asked for; a part is what a player asks for when somebody jumps to a place. */
const wishes = {
  'whole file': {},
  'a part of 1 MB': { Range: 'bytes=4000000-4999999' },
} as const

export async function files(say: (line: string) => void): Promise<Report> {
  const directory = aDirectory()
  const at = Date.now()
  const bytes = megabytes * 1_000_000
  const run = { gpu: 0, claimedAt: at - 60_000, seconds: 50, filename, bytes }
  await writePast(directory, [{ prompt: 'A large video', submittedAt: at - 70_000, run }])
  writeFileSync(join(directory, 'results', filename), randomBytes(bytes))
  const servers: [string, Server][] = []
  try {
    servers.push([versionOfNginx(), await startNginx(directory)])
    servers.push(['service', await startService(directory)])
    const found: Record<string, Found[]> = {}
    for (let round = 0; round <= rounds; round++) {
      for (const [wish, headers] of Object.entries(wishes)) {
        for (const [name, server] of servers) {
          const one = await measure(server, headers, round === 0 ? 1 : seconds)
          if (round === 0) continue
          found[`${wish}: ${name}`] = [...(found[`${wish}: ${name}`] ?? []), one]
          say(`round ${round}: ${wish}: ${name}: ${one.megabytesPerSecond.toFixed(0)} MB/s`)
        }
      }
    }
    const rows = Object.entries(found).map(([way, all]) => {
      const rate = median(all.map(({ megabytesPerSecond }) => megabytesPerSecond))
      const nginx = found[`${way.split(':')[0]}: ${servers[0]?.[0]}`] ?? []
      const floor = median(nginx.map(({ megabytesPerSecond }) => megabytesPerSecond))
      const cpu = median(all.map(({ perGigabyte }) => perGigabyte))
      return [way, `${rate.toFixed(0)} MB/s`, `${cpu.toFixed(2)} s`, times(rate / floor)]
    })
    return {
      how: `a file of ${megabytes} MB, ${connections} connections, ${rounds} rounds of ${seconds} s, in turns; medians of the rounds`,
      tables: [{ head: ['answers', 'throughput', 'CPU for a GB', '÷ nginx'], rows }],
    }
  } finally {
    for (const [, server] of servers) await server.stop()
    removeDirectory(directory)
  }
}

async function measure(
  { url, cpu }: Server,
  headers: Readonly<Record<string, string>>,
  duration: number,
): Promise<Found> {
  const before = cpu()
  const { perSecond, requests, bytes } = await load({
    ...{ url: `${url}/${filename}`, headers, connections, seconds: duration },
  })
  const each = headers.Range ? 1_000_000 : megabytes * 1_000_000
  if (bytes < requests * each) throw new Error(`${url} sent less than was asked for`)
  return {
    megabytesPerSecond: (perSecond * each) / 1e6,
    perGigabyte: (cpu() - before) / (bytes / 1e9),
  }
}

async function startService(directory: string): Promise<Server> {
  const service = launchService(directory)
  const url = await service.listening()
  return { url: `${url}/files`, cpu: service.cpu, stop: service.kill }
}

const versionOfNginx = (): string => {
  try {
    return versionOf('sh', ['-c', 'nginx -v 2>&1']).replace(/^.*: /, '')
  } catch (error) {
    throw new Error('nginx is not installed: apt-get install nginx-light', { cause: error })
  }
}

/** As Debian has it, but for the paths; one worker, since the service has one thread. */
async function startNginx(directory: string): Promise<Server> {
  const port = await freePort()
  const path = join(directory, 'nginx.conf')
  chmodSync(directory, 0o755)
  writeFileSync(
    path,
    `daemon off; master_process off; worker_processes 1; pid ${directory}/nginx.pid; error_log stderr;
events { worker_connections 768; }
http {
  access_log off; sendfile on; tcp_nopush on; types { video/mp4 mp4; }
  client_body_temp_path ${directory}/nginx; proxy_temp_path ${directory}/nginx; fastcgi_temp_path ${directory}/nginx;
  uwsgi_temp_path ${directory}/nginx; scgi_temp_path ${directory}/nginx;
  server { listen 127.0.0.1:${port}; root ${directory}/results; }
}
`,
  )
  const child: ChildProcess = spawn('nginx', ['-c', path, '-p', directory], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const url = `http://127.0.0.1:${port}`
  await until(() =>
    fetch(`${url}/${filename}`, { method: 'HEAD' }).then(
      ({ ok }) => ok,
      () => false,
    ),
  )
  return {
    url,
    cpu: () => cpuOf(child.pid ?? 0),
    async stop() {
      child.kill('SIGKILL')
    },
  }
}
