import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { root } from '../../src/config/root.ts'
import {
  aDataDirectory,
  createShared,
  quick,
  type Service,
  startService,
} from '../support/service.ts'

const deployed = (name: string) => readFileSync(join(root, 'deploy', name), 'utf8')

/** What is in deploy/, without TLS and on ports of this test. */
type Proxy = Readonly<{
  name: string
  program: string
  configure(ports: Readonly<{ own: number; service: number }>, directory: string): string
  args(path: string, directory: string): string[]
}>

const proxies: readonly Proxy[] = [
  {
    name: 'nginx',
    program: '/usr/sbin/nginx',
    configure: ({ own, service }, directory) => {
      const site = deployed('nginx.conf')
        .replace('127.0.0.1:8080', `127.0.0.1:${service}`)
        .replace('listen 443 ssl http2', `listen 127.0.0.1:${own}`)
        .replace(/^ *(listen \[::\]|ssl_certificate).*$/gm, '')
      const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
        .map((kind) => `${kind}_temp_path ${directory}/${kind};`)
        .join('\n')
      return `pid ${directory}/pid; error_log ${directory}/error.log; events {}
        http { access_log off; ${places}\n${site} }`
    },
    args: (path, directory) => ['-p', directory, '-c', path, '-g', 'daemon off; user root;'],
  },
  {
    name: 'Caddy',
    program: '/usr/bin/caddy',
    configure: ({ own, service }) =>
      `{\nadmin off\n}\n${deployed('Caddyfile')
        .replace('127.0.0.1:8080', `127.0.0.1:${service}`)
        .replace(/^videos\.example\.org/m, `http://127.0.0.1:${own}`)}`,
    args: (path) => ['run', '--adapter', 'caddyfile', '--config', path],
  },
]

const token = `token-of-ada-${crypto.randomUUID()}`

for (const { name, program, configure, args } of proxies) {
  const isThere = existsSync(program)
  const why = isThere ? '' : ` (there is no ${program} here)`

  describe.skipIf(!isThere)(`${name}, as in deploy/${why}`, () => {
    const shared = createShared()
    let front: string
    beforeAll(async () => {
      const env = { API_TOKENS: `ada:${token}`, TRUST_PROXY: '1', SIM_STEP: '0.2' }
      front = await startBefore(await startService({ atEnd: shared.atEnd, env }))
    })
    afterAll(shared.clearAway)

    it('passes on a job: its submission, its events as they come, any part of its video', async () => {
      const headers = { 'Content-Type': 'application/json' }
      const body = JSON.stringify({ ...quick, prompt: 'a fox' })
      const submitted = await ask('/generate', { method: 'POST', headers, body })
      expect(submitted.status).toBe(202)
      const { id } = (await submitted.json()) as { id: string }

      const events = await ask(`/jobs/${id}/events`)
      const chunks: string[] = []
      for await (const chunk of events.body ?? []) chunks.push(Buffer.from(chunk).toString())
      // All at once at the end, if somebody had held them back.
      expect(chunks.length).toBeGreaterThan(2)
      expect(chunks.at(-1)).toContain('success')

      const { file_url } = (await (await ask(`/status/${id}`)).json()) as { file_url: string }
      const part = await ask(file_url, { headers: { Range: 'bytes=4-7' } })
      expect(part.status).toBe(206)
      expect(await part.text()).toBe('ftyp')
    })

    it('leaves it to the service to judge a large image', async () => {
      const form = new FormData()
      form.set('prompt', 'a fox')
      form.set('size', '1280x720')
      form.set('image', new Blob([Buffer.alloc(15 * 1024 ** 2)]), 'fox.png')
      const response = await ask('/generate', { method: 'POST', body: form })
      expect(response.status).toBe(422)
      // Its bytes are no picture.
      expect(await response.json()).toMatchObject({ field: 'image' })
    })

    const ask = (path: string, init: RequestInit = {}) =>
      fetch(`${front}${path}`, {
        ...init,
        headers: { Authorization: `Bearer ${token}`, ...init.headers },
      })

    async function startBefore(service: Service): Promise<string> {
      const directory = aDataDirectory(shared.atEnd)
      const own = await aFreePort()
      const path = join(directory, 'proxy.conf')
      writeFileSync(path, configure({ own, service: Number(new URL(service.url).port) }, directory))
      const child = spawn(program, args(path, directory), {
        stdio: 'ignore',
        env: { PATH: process.env.PATH, HOME: directory },
      })
      const ended = once(child, 'exit')
      shared.atEnd(async () => {
        child.kill()
        await ended
      })
      const url = `http://127.0.0.1:${own}`
      const isUp = () =>
        fetch(`${url}/health`).then(
          ({ ok }) => ok,
          () => false,
        )
      await vi.waitUntil(isUp, { timeout: 20_000 })
      return url
    }
  })
}

async function aFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}
