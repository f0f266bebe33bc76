import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createIsOwnHost } from '../../../src/http/request/hosts.ts'
import { anApp } from '../../support/routes.ts'

const own = {
  host: 'gpu-box',
  baseUrl: 'https://Videos.Example.org:8443/wan',
  allowed: ['wan.lan', 'MÜNCHEN.example'],
}

describe('a name of a service without tokens', () => {
  const isOwn = createIsOwnHost(own)

  it.each([
    ...['127.0.0.1', '192.0.2.7', '[::1]', '[2001:db8::7]', 'localhost', 'localhost.'],
    ...['gpu-box', 'videos.example.org', 'wan.lan', 'xn--mnchen-3ya.example'],
  ])('is %s', (name) => {
    expect(isOwn(name)).toBe(true)
  })

  it.each([
    ...['evil.example', 'localhost.evil.example', 'xlocalhost', '127.0.0.1.evil.example'],
    ...['127.0.0.1.nip.io', 'wan.lan.evil.example', 'sub.wan.lan', 'evil-gpu-box', '', '1.2.3'],
  ])('is not "%s"', (name) => {
    expect(isOwn(name)).toBe(false)
  })

  it('is every name with *', () => {
    expect(createIsOwnHost({ ...own, allowed: ['*'] })('evil.example')).toBe(true)
  })

  it('is no other domain name, whatever it is', () => {
    fc.assert(
      fc.property(fc.domain(), (name) => {
        fc.pre(!['videos.example.org', 'wan.lan'].includes(name.toLowerCase()))
        expect(isOwn(URL.parse(`http://${name}`)?.hostname ?? name)).toBe(false)
      }),
    )
  })
})

describe('a request', () => {
  const ask = (path: string, host: string, more: string[] = []) =>
    anApp({ ownHosts: own }).request(path, {}, withHosts(path, [host, ...more]))

  it.each(['/jobs', '/ready', '/', '/openapi.json', '/v1/videos', '/nothing'])(
    'for %s by a foreign name is refused with the setting that allows the name',
    async (path) => {
      const response = await ask(path, 'evil.example:8080')
      expect(response.status).toBe(403)
      const text = await response.text()
      expect(text).toContain('host_not_allowed')
      expect(text).toMatch(/Host: .*evil\.example.*ALLOWED_HOSTS/)
    },
  )

  it('for /health is answered by any name', async () => {
    // Nobody is behind the app; the answer only has to be another one.
    expect(await (await ask('/health', 'evil.example')).text()).not.toContain('host_not_allowed')
  })

  it('with a known name in its URL and a foreign Host is refused', async () => {
    expect((await ask('http://127.0.0.1/openapi.json', 'evil.example')).status).toBe(403)
  })

  it('with a foreign name in its URL and a known Host is refused', async () => {
    expect((await ask('http://evil.example/openapi.json', '127.0.0.1')).status).toBe(403)
  })

  it('by a foreign name is refused also after one by a known name', async () => {
    const app = anApp({ ownHosts: own })
    const by = (host: string) =>
      app.request('/openapi.json', {}, withHosts('/openapi.json', [host]))
    for (const [host, status] of [
      ['wan.lan:8080', 200],
      ['evil.example', 403],
      ['WAN.lan', 200],
      ['evil.example', 403],
    ] as const)
      expect((await by(host)).status, host).toBe(status)
  })

  it.each([own, undefined])('with two Host headers is refused', async (ownHosts) => {
    const path = '/openapi.json'
    const hosts = ['localhost', 'localhost']
    const response = await anApp({ ownHosts }).request(path, {}, withHosts(path, hosts))
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ code: 'malformed_request', field: 'Host' })
  })
})

/** What Node would bring of a request with these headers. */
const withHosts = (url: string, hosts: readonly string[]) => ({
  url,
  rawHeaders: hosts.flatMap((host, index) => [index % 2 ? 'HOST' : 'Host', host]),
  headers: { host: hosts[0] },
})
