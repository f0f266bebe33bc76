import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import OpenAI from 'openai'
import { Webhook as Verifier } from 'standardwebhooks'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { startHostile, switching } from '../support/hostile-receiver.ts'
import { type Received, startReceiver } from '../support/receiver.ts'
import {
  aDataDirectory,
  createShared,
  quick,
  type Service,
  type ServiceClient,
  startService,
} from '../support/service.ts'
import { aSteppedClock } from '../support/stepped-clock.ts'

const env = { WEBHOOK_ALLOW: '127.0.0.1' }
const shared = createShared()
let service: Service
beforeAll(async () => {
  service = await startService({ atEnd: shared.atEnd, env })
})
afterAll(shared.clearAway)

type WebhookJson = { id: string; url: string; events: string[]; secret: string }
type DeliveryJson = {
  id: string
  event: string
  job_id: string | null
  status: string
  attempts: number
  next_attempt_at: string | null
  last_status: number | null
  last_error: string | null
}

const send = (client: ServiceClient, path: string, body?: object, method = 'POST') =>
  client.request(path, {
    method,
    ...(body && {
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    }),
  })

async function register(body: object, client: ServiceClient = service): Promise<WebhookJson> {
  const response = await send(client, '/webhook', body)
  const webhook = (await response.json()) as WebhookJson
  expect(response.status, JSON.stringify(webhook)).toBe(201)
  return webhook
}

const deliveriesOf = async (id: string, client: ServiceClient = service) =>
  (await client.json<{ deliveries: DeliveryJson[] }>(`/webhook/${id}/deliveries`)).deliveries

describe('a webhook', () => {
  it('is told how each job ended, in words that the usual verifiers understand', async () => {
    const receiver = await startReceiver()
    const { id, secret, events } = await register({ url: receiver.url })
    expect(events).toEqual(['job.success', 'job.error', 'job.canceled'])
    const good = await service.submit({ prompt: 'a fox' })
    const bad = await service.submit({ prompt: 'a fox [sim:bad-args]' })
    const long = await service.submit({ prompt: 'a fox [sim:hang-step]' })
    await service.until(long, ({ stage }) => stage === 'denoising')
    await service.request(`/jobs?ids=${long}`, { method: 'DELETE' })

    const received = await receiver.until(3)
    const byJob = (job: string) => received.find(({ event }) => event.data.id === job) as Received
    for (const [job, type] of [
      [good, 'job.success'],
      [bad, 'job.error'],
      [long, 'job.canceled'],
    ] as const) {
      const { headers, body, event } = byJob(job)
      expect(event).toMatchObject({ object: 'event', type, id: headers['webhook-id'] })
      expect(event.data).toEqual(await service.status(job))
      expect(new Verifier(secret).verify(body, headers)).toEqual(event)
      const client = new OpenAI({ apiKey: 'none', webhookSecret: secret })
      expect(await client.webhooks.unwrap(body, headers)).toEqual(event)
      await expect(client.webhooks.unwrap(body.replace(job, ''), headers)).rejects.toThrow()
    }
    await service.request(`/webhook/${id}`, { method: 'DELETE' })
  })

  it('is told in the words of OpenAI if it asks for them', async () => {
    const receiver = await startReceiver()
    const { id } = await register({
      url: receiver.url,
      events: ['video.completed', 'video.failed'],
    })
    const good = await service.submit({ prompt: 'a fox' })
    const bad = await service.submit({ prompt: 'a fox [sim:bad-args]' })
    const received = await receiver.until(2)
    expect(received.map(({ event: { type, data } }) => ({ type, data }))).toEqual(
      expect.arrayContaining([
        { type: 'video.completed', data: { id: `video_${good}` } },
        { type: 'video.failed', data: { id: `video_${bad}` } },
      ]),
    )
    await service.request(`/webhook/${id}`, { method: 'DELETE' })
  })

  it('shows its secret once, when it is made', async () => {
    const own = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
    const webhook = await register({ url: 'https://example.org/hook?token=abc', secret: own })
    expect(webhook.secret).toBe(own)
    for (const path of ['/webhook', `/webhook/${webhook.id}`, `/webhook/${webhook.id}/deliveries`])
      expect(await (await service.request(path)).text()).not.toContain('whsec_')
    expect(await service.json(`/webhook/${webhook.id}`)).toMatchObject({ url: webhook.url })
    expect(service.allLogs()).not.toContain(own)
    await service.request(`/webhook/${webhook.id}`, { method: 'DELETE' })
    expect((await service.request(`/webhook/${webhook.id}`)).status).toBe(404)
  })

  it('signs with the old secret and the new one after a rotation', async () => {
    const receiver = await startReceiver()
    const { id, secret: old } = await register({ url: receiver.url })
    const rotated = await (await send(service, `/webhook/${id}/rotate`)).json()
    const { secret, previous_secret_until } = rotated as Record<string, string>
    expect(Date.parse(previous_secret_until ?? '')).toBeGreaterThan(Date.now())
    expect((await send(service, `/webhook/${id}/test`)).status).toBe(202)
    const [test] = await receiver.until(1)
    const { body = '', headers = {} } = test ?? {}
    for (const key of [old, String(secret)]) {
      expect(new Verifier(key).verify(body, headers)).toMatchObject({ type: 'webhook.test' })
      const client = new OpenAI({ apiKey: 'none', webhookSecret: key })
      await expect(client.webhooks.unwrap(body, headers)).resolves.toBeDefined()
    }
    await service.request(`/webhook/${id}`, { method: 'DELETE' })
  })

  it('can be for one job alone, with a secret of its own', async () => {
    const receiver = await startReceiver()
    const response = await service.post({ prompt: 'a fox', ...quick, webhook_url: receiver.url })
    const accepted = (await response.json()) as Record<string, string>
    const other = await service.submit({ prompt: 'another' })
    const [received] = await receiver.until(1)
    const { body = '', headers = {} } = received ?? {}
    expect(new Verifier(accepted.webhook_secret ?? '').verify(body, headers)).toMatchObject({
      type: 'job.success',
      data: { id: accepted.id },
    })
    await service.until(other)
    expect(receiver.received).toHaveLength(1)
    expect(await (await service.request('/webhook')).text()).not.toContain(accepted.webhook_id)
    await expect
      .poll(() => deliveriesOf(accepted.webhook_id ?? ''))
      .toMatchObject([{ event: 'job.success', status: 'delivered', attempts: 1 }])
  })

  it('can be tried out, and says why it does not work', async () => {
    const receiver = await startReceiver({
      answer: (_, response) => void response.writeHead(302, { Location: '/' }).end(),
    })
    const { id } = await register({ url: receiver.url })
    await send(service, `/webhook/${id}/test`)
    await expect
      .poll(() => deliveriesOf(id), { timeout: 10_000 })
      .toMatchObject([{ event: 'webhook.test', status: 'failed', attempts: 1, last_status: 302 }])
    expect(receiver.received).toHaveLength(1)
    await service.request(`/webhook/${id}`, { method: 'DELETE' })
  })

  it('is tried again after a failure, and told the same again when that is wished', async () => {
    const receiver = await startReceiver({
      answer: (_, response) =>
        void response.writeHead(receiver.received.length === 1 ? 503 : 204).end(),
    })
    const { id } = await register({ url: receiver.url })
    const job = await service.submit({ prompt: 'a fox' })
    await receiver.until(2)
    await expect
      .poll(() => deliveriesOf(id))
      .toMatchObject([{ job_id: job, status: 'delivered', attempts: 2, last_status: 204 }])
    const [delivery] = await deliveriesOf(id)
    expect((await send(service, `/webhook/deliveries/${delivery?.id}/replay`)).status).toBe(202)
    const received = await receiver.until(3)
    expect(new Set(received.map(({ headers }) => headers['webhook-id']))).toEqual(
      new Set([delivery?.id]),
    )
    await service.request(`/webhook/${id}`, { method: 'DELETE' })
  })

  it('gets nothing more once its receiver has said that it is gone, until it is enabled', async () => {
    const receiver = await startReceiver({
      answer: (_, response) => void response.writeHead(410).end(),
    })
    const { id } = await register({ url: receiver.url })
    await service.until(await service.submit({ prompt: 'a fox' }))
    const disabledAt = async () =>
      (await service.json<{ disabled_at: string | null }>(`/webhook/${id}`)).disabled_at
    await expect.poll(disabledAt).not.toBeNull()
    await service.until(await service.submit({ prompt: 'a fox' }))
    expect(await deliveriesOf(id)).toMatchObject([{ status: 'failed', last_status: 410 }])
    const refused = await send(service, `/webhook/${id}/test`)
    expect([refused.status, await refused.json()]).toMatchObject([
      409,
      { code: 'webhook_disabled' },
    ])
    expect((await send(service, `/webhook/${id}/enable`)).status).toBe(200)
    expect(await disabledAt()).toBeNull()
    await service.request(`/webhook/${id}`, { method: 'DELETE' })
  })
})

describe('webhook routes', () => {
  it('register 100 webhooks and refuse 30 when 130 requests arrive at once', async () => {
    const own = await startService({ env })
    const responses = await Promise.all(
      Array.from({ length: 130 }, () => send(own, '/webhook', { url: 'https://example.org/' })),
    )
    const refused = responses.filter(({ status }) => status !== 201)
    expect(await Promise.all(refused.map((response) => response.json()))).toMatchObject(
      Array(30).fill({ status: 409, code: 'too_many_webhooks' }),
    )
    const { webhooks } = await own.json<{ webhooks: WebhookJson[] }>('/webhook')
    expect(webhooks).toHaveLength(100)
  })

  it('sign with every secret of 20 rotations at once, as far as ten secrets go', async () => {
    const receiver = await startReceiver()
    const { id, secret: first } = await register({ url: receiver.url })
    const responses = await Promise.all(
      Array.from({ length: 20 }, () => send(service, `/webhook/${id}/rotate`)),
    )
    const taken = responses.filter(({ status }) => status === 200)
    const refused = responses.filter(({ status }) => status !== 200)
    expect(await Promise.all(refused.map((response) => response.json()))).toMatchObject(
      Array(11).fill({ status: 409, code: 'too_many_secrets' }),
    )
    const rotated = await Promise.all(taken.map((response) => response.json()))
    const secrets = (rotated as { secret: string }[]).map(({ secret }) => secret)
    expect(new Set(secrets)).toHaveLength(9)
    await send(service, `/webhook/${id}/test`)
    const [{ body, headers } = { body: '', headers: {} }] = await receiver.until(1)
    for (const secret of [first, ...secrets])
      expect(new Verifier(secret).verify(body, headers)).toMatchObject({ type: 'webhook.test' })
    await service.request(`/webhook/${id}`, { method: 'DELETE' })
  })
})

describe('a receiver that is down', () => {
  // The longer it was down, the longer it is before it is tried again.
  it('is told everything once it is up, in order per job, though the service was killed meanwhile', {
    timeout: 180_000,
  }, async () => {
    const dataDir = aDataDirectory()
    // An address that nobody else takes a port of while the receiver is down.
    const host = '127.0.0.77'
    const env = { WEBHOOK_ALLOW: host }
    const { port, url, stop } = await startReceiver({ host })
    await stop()

    const first = await startService({ dataDir, env })
    const events = ['job.success', 'job.error', 'video.completed', 'video.failed']
    await register({ url, events }, first)
    const jobs: string[] = []
    for (const n of [1, 2, 3, 4, 5]) jobs.push(await first.submit({ prompt: `a fox ${n}` }))
    await first.until(jobs[1] ?? '')
    await first.stop('SIGKILL')

    const second = await startService({ dataDir, env })
    for (const job of jobs) await second.until(job)
    await second.stop('SIGKILL')
    const { received } = await startReceiver({ host, port })
    const third = await startService({ dataDir, env })
    const told = () => new Set(received.map(({ event }) => event.id)).size
    await expect.poll(told, { timeout: 100_000 }).toBe(2 * jobs.length)
    for (const job of jobs) {
      const types = received.filter(({ event }) => String(event.data.id).endsWith(job))
      const inOrder = [...new Set(types.map(({ event }) => event.type))]
      expect(inOrder).toEqual(['job.success', 'video.completed'])
    }
    const [webhook] = (await third.json<{ webhooks: WebhookJson[] }>('/webhook')).webhooks
    await expect
      .poll(async () =>
        (await deliveriesOf(webhook?.id ?? '', third)).every(
          ({ status }) => status === 'delivered',
        ),
      )
      .toBe(true)
  })

  it('is told again what was on its way when the actor of webhooks crashed', async () => {
    const own = await startService({ env: { ...env, FAULT_INJECTION: '1' } })
    const receiver = await startReceiver({
      answer: (_, response) => void (receiver.received.length > 1 && response.end()),
    })
    const { id } = await register({ url: receiver.url }, own)
    await own.submit({ prompt: 'a fox' })
    await receiver.until(1)
    writeFileSync(join(own.queue.dataDir, 'crash'), 'webhooks')
    own.queue.child.kill('SIGUSR2')
    const [first, second] = await receiver.until(2)
    expect(second?.headers['webhook-id']).toBe(first?.headers['webhook-id'])
    await expect
      .poll(() => deliveriesOf(id, own).catch(() => []), { timeout: 20_000 })
      .toMatchObject([{ status: 'delivered', attempts: 1 }])
  })

  it('holds up no other, even if it takes connections and never answers', async () => {
    const own = await startService({ env })
    const silent = await startReceiver({ answer: () => {} })
    const lively = await startReceiver()
    await register({ url: silent.url }, own)
    await register({ url: lively.url }, own)
    for (let n = 0; n < 8; n += 1) await own.submit({ prompt: `a fox ${n}`, steps: 1 })
    await lively.until(8)
    expect(silent.received.length).toBeLessThanOrEqual(4)
  })
})

describe('sixteen receivers that switch the protocol', () => {
  it('hold up no other, also after a restart', async () => {
    const dataDir = aDataDirectory()
    const hostile = await Promise.all(
      Array.from({ length: 16 }, () => startHostile((socket) => socket.write(switching))),
    )
    const first = await startService({ dataDir, env })
    for (const { url } of hostile) await register({ url }, first)
    for (let n = 0; n < 4; n += 1) await first.until(await first.submit({ prompt: `a fox ${n}` }))
    await vi.waitUntil(() => hostile.every(({ accepted }) => accepted() > 0))
    const receiver = await startReceiver()
    const { id } = await register({ url: receiver.url }, first)
    await first.until(await first.submit({ prompt: 'told' }))
    await receiver.until(1)
    const [of101] = (await first.json<{ webhooks: WebhookJson[] }>('/webhook')).webhooks
    await expect
      .poll(() => deliveriesOf(of101?.id ?? '', first))
      .toContainEqual(expect.objectContaining({ status: 'pending', last_status: 101 }))
    await first.stop('SIGKILL')

    const second = await startService({ dataDir, env })
    await second.until(await second.submit({ prompt: 'told again' }))
    await receiver.until(2)
    await expect.poll(() => hostile.map(({ open }) => open())).toEqual(Array(16).fill(0))
    await expect
      .poll(async () => (await deliveriesOf(id, second)).map(({ status }) => status))
      .toEqual(['delivered', 'delivered'])
  })
})

describe('the receivers of one client that hang', () => {
  it('leave the deliveries of another client alone, also to the same receiver', async () => {
    const tokens = { ada: 'a-token-of-adas-hooks', bob: 'a-token-of-bobs-hooks' }
    const API_TOKENS = `ada:${tokens.ada},bob:${tokens.bob}`
    const own = await startService({ env: { ...env, API_TOKENS } })
    const [ada, bob] = [own.as(tokens.ada), own.as(tokens.bob)]
    const silent = await Promise.all(Array.from({ length: 40 }, () => startHostile(() => {})))
    for (const { url } of silent) await register({ url }, ada)
    const shared = await startReceiver({
      answer: ({ path }, response) => void response.writeHead(path === '/hook' ? 204 : 404).end(),
    })
    await register({ url: new URL('/nowhere', shared.url).href }, ada)
    await ada.until(await ada.submit({ prompt: 'of ada' }))
    await vi.waitUntil(() => silent.filter(({ open }) => open() > 0).length >= 10)
    const { id } = await register({ url: shared.url }, bob)
    const jobs: string[] = []
    for (let n = 0; n < 5; n += 1) jobs.push(await bob.submit({ prompt: `of bob ${n}` }))
    for (const job of jobs) await bob.until(job)
    await expect
      .poll(
        async () =>
          (await deliveriesOf(id, bob)).filter(({ status }) => status === 'delivered').length,
      )
      .toBe(5)
    // The others hang still: nothing had to wait for their deadline.
    expect(silent.some(({ open }) => open() > 0)).toBe(true)
  })
})

describe('a clock that is corrected', () => {
  const days = (count: number) => count * 24 * 60 * 60_000

  it('silences no webhook and gives up no delivery', { timeout: 120_000 }, async () => {
    const dataDir = aDataDirectory()
    const clock = aSteppedClock(dataDir, days(2))
    const host = '127.0.0.78'
    const steppedEnv = { ...clock.env, WEBHOOK_ALLOW: host }
    const { port, url, stop } = await startReceiver({ host })
    await stop()

    const first = await startService({ dataDir, env: steppedEnv })
    const { id } = await register({ url }, first)
    const attempts = async (of: ServiceClient) =>
      (await deliveriesOf(id, of)).map(({ status, attempts }) => [status, attempts])
    await first.until(await first.submit({ prompt: 'in two days' }))
    await expect.poll(() => attempts(first)).toEqual([['pending', 1]])
    // While it runs: what is due in two seconds is due in two seconds.
    clock.step(0)
    await expect.poll(() => attempts(first)).toEqual([['pending', 2]])
    const [delivery] = await deliveriesOf(id, first)
    const wait = Date.parse(delivery?.next_attempt_at ?? '') - Date.now()
    expect(Math.abs(wait)).toBeLessThan(10_000)
    clock.step(days(2))
    await first.stop('SIGKILL')

    // Over a restart, in both directions.
    clock.step(0)
    const second = await startService({ dataDir, env: steppedEnv })
    await expect.poll(() => attempts(second), { timeout: 20_000 }).toEqual([['pending', 3]])
    await second.stop('SIGKILL')
    clock.step(days(9))
    const third = await startService({ dataDir, env: steppedEnv })
    await expect.poll(() => attempts(third), { timeout: 20_000 }).toEqual([['pending', 4]])
    const receiver = await startReceiver({ host, port })
    await receiver.until(1)
    await expect.poll(() => attempts(third)).toEqual([['delivered', 5]])
  })
})

describe('what a webhook may be', () => {
  it.each<[string, object, string, RegExp]>([
    ['no url', {}, 'url', /required/],
    ['no URL', { url: 'hook' }, 'url', /URL/],
    ['a URL of something else', { url: 'ftp://example.org/' }, 'url', /http/],
    ['a file', { url: 'file:///etc/passwd' }, 'url', /http/],
    ['a URL with a password', { url: 'https://me:secret@example.org/' }, 'url', /password/],
    ['the service of metadata', { url: 'http://169.254.169.254/latest' }, 'url', /public/],
    ['localhost', { url: 'http://localhost:8080/' }, 'url', /public/],
    ['a port of another service', { url: 'http://example.org:25/' }, 'url', /port 25/],
    ['unknown events', { url: 'https://example.org/', events: ['job.eaten'] }, 'events.0', /among/],
    ['no events', { url: 'https://example.org/', events: [] }, 'events', /at least one/],
    ['a short secret', { url: 'https://example.org/', secret: 'whsec_AAAA' }, 'secret', /24 to 64/],
    ['another field', { url: 'https://example.org/', name: 'x' }, 'name', /known/],
  ])('is refused with %s', async (_what, body, field, detail) => {
    const response = await send(service, '/webhook', body)
    expect(response.status).toBe(422)
    const problem = (await response.json()) as { field: string; detail: string }
    expect(problem).toMatchObject({ field, detail: expect.stringMatching(detail) })
    expect(problem.detail).not.toContain('secret@')
  })

  it.each<[string, object, string]>([
    ['a private webhook_url', { webhook_url: 'http://10.0.0.1/' }, 'webhook_url'],
    ['a secret for no webhook', { webhook_secret: `whsec_${'A'.repeat(32)}` }, 'webhook_secret'],
  ])('is refused with %s of a job', async (_what, body, field) => {
    const response = await service.post({ prompt: 'a fox', ...quick, ...body })
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({ field })
  })

  it.each(['not-an-id', '00000000-0000-4000-8000-000000000000'])('is not %s', async (id) => {
    for (const [method, path] of [
      ['GET', `/webhook/${id}`],
      ['DELETE', `/webhook/${id}`],
      ['POST', `/webhook/${id}/rotate`],
      ['POST', `/webhook/${id}/enable`],
      ['POST', `/webhook/${id}/test`],
      ['GET', `/webhook/${id}/deliveries`],
      ['POST', `/webhook/deliveries/${id}/replay`],
      ['POST', `/webhook/deliveries/evt_${'0'.repeat(32)}/replay`],
    ] as const) {
      const { status } = await service.request(path, { method })
      expect([404, 422], `${method} ${path}`).toContain(status)
    }
  })
})

describe('the webhooks of clients', () => {
  it('are told of their own jobs only, those of an admin of all', async () => {
    const tokens = {
      ada: 'a-token-of-adas-hooks',
      bob: 'a-token-of-bobs-hooks',
      ops: 'a-token-of-ops-hooks',
    }
    const API_TOKENS = `ada:${tokens.ada},bob:${tokens.bob},ops:${tokens.ops}:admin`
    const own = await startService({ env: { ...env, API_TOKENS } })
    const [ada, bob, ops] = [own.as(tokens.ada), own.as(tokens.bob), own.as(tokens.ops)]
    const [toAda, toBob, toOps] = await Promise.all([1, 2, 3].map(() => startReceiver()))
    const hook = await register({ url: toAda?.url }, ada)
    await register({ url: toBob?.url }, bob)
    await register({ url: toOps?.url }, ops)
    const ofAda = await ada.submit({ prompt: 'of ada' })
    const ofBob = await bob.submit({ prompt: 'of bob' })
    const jobsIn = (received: readonly Received[] = []) =>
      received.map(({ event }) => event.data.id).toSorted()
    expect(jobsIn(await toOps?.until(2))).toEqual([ofAda, ofBob].toSorted())
    expect(jobsIn(await toAda?.until(1))).toEqual([ofAda])
    expect(jobsIn(await toBob?.until(1))).toEqual([ofBob])
    const idle = async (client: ServiceClient, { id }: WebhookJson) =>
      (await deliveriesOf(id, client)).every(({ status }) => status === 'delivered')
    await vi.waitUntil(() => idle(ada, hook))
    expect(jobsIn(toAda?.received)).toEqual([ofAda])

    const list = async (client: ServiceClient) =>
      (await client.json<{ webhooks: WebhookJson[] }>('/webhook')).webhooks.length
    expect([await list(ada), await list(bob), await list(ops)]).toEqual([1, 1, 3])
    const [delivery] = await vi.waitUntil(async () => {
      const found = await deliveriesOf(hook.id, ada)
      return found.length > 0 && found
    })
    for (const [method, path] of [
      ['GET', `/webhook/${hook.id}`],
      ['GET', `/webhook/${hook.id}/deliveries`],
      ['POST', `/webhook/${hook.id}/rotate`],
      ['POST', `/webhook/${hook.id}/test`],
      ['POST', `/webhook/${hook.id}/enable`],
      ['POST', `/webhook/deliveries/${delivery?.id}/replay`],
      ['DELETE', `/webhook/${hook.id}`],
    ] as const) {
      expect((await bob.request(path, { method })).status, path).toBe(404)
    }
    expect((await ops.request(`/webhook/${hook.id}`)).status).toBe(200)
    expect((await own.request('/webhook')).status).toBe(401)
  })
})

describe('the webhook of a client that is revoked', () => {
  const tokens = {
    ada: 'a-token-of-adas-hooks',
    ops: 'a-token-of-ops-hooks',
    root: 'a-token-of-roots-hooks',
  }
  const everybody = `ada:${tokens.ada},ops:${tokens.ops}:admin,root:${tokens.root}:admin`
  const started = (dataDir: string, API_TOKENS?: string) =>
    startService({ dataDir, env: { ...env, ...(API_TOKENS && { API_TOKENS }) } })

  it.each([
    ['removed', `ada:${tokens.ada},root:${tokens.root}:admin`, /ops is no longer in API_TOKENS/],
    ['demoted', everybody.replace(':admin', ''), /ops is no longer an admin/],
  ])(
    'as admin is withheld when the admin is %s, until another admin enables it',
    async (_how, API_TOKENS, why) => {
      const dataDir = aDataDirectory()
      const receiver = await startReceiver()
      const first = await started(dataDir, everybody)
      const { id } = await register({ url: receiver.url }, first.as(tokens.ops))
      await first.as(tokens.ada).until(await first.as(tokens.ada).submit({ prompt: 'before' }))
      await receiver.until(1)
      await first.stop()

      const second = await started(dataDir, API_TOKENS)
      const [ada, root] = [second.as(tokens.ada), second.as(tokens.root)]
      const warning = { webhookId: id, reason: expect.stringMatching(why) }
      expect(second.queue.log('webhook withheld')).toMatchObject([warning])
      const secret = await ada.submit({ prompt: 'after' })
      await ada.until(secret)
      await expect
        .poll(async () => (await deliveriesOf(id, root))[0])
        .toMatchObject({
          job_id: secret,
          status: 'failed',
          attempts: 0,
          last_error: expect.stringMatching(why),
        })
      expect(await root.json('/webhook')).toMatchObject({
        webhooks: [
          {
            id,
            owner: null,
            registered_by: ['ops'],
            status: 'withheld',
            status_reason: expect.stringMatching(why),
          },
        ],
      })
      expect(receiver.received).toHaveLength(1)

      expect((await send(root, `/webhook/${id}/enable`)).status).toBe(200)
      expect(await root.json(`/webhook/${id}`)).toMatchObject({
        registered_by: ['root'],
        status: 'active',
        status_reason: null,
      })
      const told = await ada.submit({ prompt: 'told' })
      const received = await receiver.until(2)
      expect(received.map(({ event }) => event.data.id)).toContain(told)
      expect(received.map(({ event }) => event.data.id)).not.toContain(secret)
    },
  )

  it('for one job is withheld, though its job ends', async () => {
    const dataDir = aDataDirectory()
    const receiver = await startReceiver()
    const first = await started(dataDir, everybody)
    const body = { prompt: 'a fox [sim:hang-step]', ...quick, webhook_url: receiver.url }
    const response = await first.as(tokens.ada).post(body)
    const { id, webhook_id } = (await response.json()) as Record<string, string>
    await first.as(tokens.ada).until(id ?? '', ({ stage }) => stage === 'denoising')
    await first.stop('SIGKILL')
    const second = await started(dataDir, everybody.replace('ada:', 'eve:'))
    const ops = second.as(tokens.ops)
    await ops.request(`/jobs?ids=${id}`, { method: 'DELETE' })
    await expect
      .poll(() => deliveriesOf(webhook_id ?? '', ops))
      .toMatchObject([{ status: 'failed', last_error: expect.stringContaining('ada') }])
    expect(receiver.received).toEqual([])
  })

  it('registered without a token is withheld once there are tokens, and served without them', async () => {
    const dataDir = aDataDirectory()
    const receiver = await startReceiver()
    const first = await started(dataDir)
    const { id } = await register({ url: receiver.url }, first)
    expect(await first.json(`/webhook/${id}`)).toMatchObject({
      owner: null,
      registered_by: [],
      status: 'active',
    })
    await first.stop()
    const second = await started(dataDir, everybody)
    const [ada, ops] = [second.as(tokens.ada), second.as(tokens.ops)]
    await ada.until(await ada.submit({ prompt: 'not told' }))
    await expect
      .poll(() => deliveriesOf(id, ops))
      .toMatchObject([{ status: 'failed', last_error: expect.stringContaining('without a token') }])
    await second.stop()
    const third = await started(dataDir)
    const told = await third.submit({ prompt: 'told' })
    expect((await receiver.until(1)).map(({ event }) => event.data.id)).toEqual([told])
  })
})
