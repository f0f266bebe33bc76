/** A follower in front of the real service, whose process is killed, frozen and started again. */
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { aFollower, anElection } from '../../support/cluster/http-nodes.ts'
import { quick, startService } from '../../support/service.ts'

/** As slow as a real generation: its job runs as long as a test. */
const slow = { SIM_SPEED: '0.1' }

const submit = (url: string, body: object = {}) =>
  fetch(`${url}/generate`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'Idempotency-Key': 'one' },
    body: JSON.stringify({ ...quick, prompt: 'A cat', ...body }),
  })

async function aPair() {
  const service = await startService({ env: slow })
  const election = anElection({ url: service.url, term: 1 })
  return { service, election, follower: await aFollower(election, { waitMs: 30_000 }) }
}

describe('a leader that is killed', () => {
  it('leaves a long poll to the next one, which knows the job', async () => {
    const { service, election, follower } = await aPair()
    const { id } = (await (await submit(follower.url)).json()) as { id: string }
    const first = await fetch(`${follower.url}/status/${id}`)
    const tag = first.headers.get('ETag') ?? ''
    await first.text()
    const poll = fetch(`${follower.url}/status/${id}?wait=5`, {
      headers: { 'If-None-Match': tag },
    })
    await service.stop('SIGKILL')
    const next = await startService({
      dataDir: service.dataDir,
      env: { ...slow, SIM_SPEED: '1000' },
    })
    election.elect({ url: next.url, term: 2 })
    const response = await poll
    expect([200, 304]).toContain(response.status)
    expect((await next.until(id)).status).toBe('success')
    const again = await submit(follower.url)
    expect(again.headers.get('Idempotent-Replayed')).toBe('true')
  })

  it('ends the event streams, which open again at the next one', async () => {
    const { service, election, follower } = await aPair()
    const events = async () => {
      const response = await fetch(`${follower.url}/events`)
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
      return { status: response.status, read: async () => (await reader?.read())?.value ?? '' }
    }
    const before = await events()
    expect(await before.read()).toContain('retry:')
    await service.stop('SIGKILL')
    const readToEnd = async () => {
      while (await before.read());
    }
    await expect(readToEnd()).rejects.toThrow()
    const after = events()
    const next = await startService({ dataDir: service.dataDir, env: slow })
    election.elect({ url: next.url, term: 2 })
    expect(await (await after).read()).toContain('retry:')
  })
})

describe('a leader that is frozen', () => {
  it('leaves a submit in doubt, and a poll to the next one', async () => {
    const { service, election, follower } = await aPair()
    service.child.kill('SIGSTOP')
    const submitted = submit(follower.url)
    const asked = fetch(`${follower.url}/gpus`)
    const isFirst = await Promise.race([submitted, asked, delay(200, 'neither')])
    expect(isFirst).toBe('neither')
    const next = await startService()
    election.elect({ url: next.url, term: 2 })
    expect(await (await submitted).json()).toMatchObject({ code: 'leader_lost', status: 503 })
    expect((await asked).status).toBe(200)
    service.child.kill('SIGCONT')
  })
})
