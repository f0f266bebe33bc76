import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { main } from '../../bench/built.ts'
import { startReceiver } from '../support/receiver.ts'
import {
  aDataDirectory,
  killLeftovers,
  quick,
  type Service,
  serviceEnvironment,
  startService,
} from '../support/service.ts'

describe('the log', () => {
  it('has one line for each state of a job, with whose, which try, and where', async () => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    const id = await service.submit({ prompt: 'a fox [sim:once=oom]' })
    await service.until(id)
    const where = { attempt: 1, epoch: 1, gpu: 0 }
    expect(linesOf(service, id)).toMatchObject([
      { status: 'queued', epoch: 0 },
      { status: 'running', ...where },
      { status: 'queued', ...where, failure: { code: 'out_of_memory' } },
      { status: 'running', attempt: 2, epoch: 2, gpu: 0 },
      { status: 'success', attempt: 2, epoch: 2, gpu: 0 },
    ])
    const ends = service.log('generation ended').filter(({ jobId }) => jobId === id)
    expect(ends).toMatchObject([
      { epoch: 1, gpu: 0 },
      { epoch: 2, gpu: 0 },
    ])
  })

  it('leads from a request to what it has caused, and back by X-Request-Id', async () => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    const headers = (id: string) => ({ 'Content-Type': 'application/json', 'X-Request-Id': id })
    const submit = async (path: string, body: object, requestId: string) => {
      const init = { method: 'POST', headers: headers(requestId), body: JSON.stringify(body) }
      const response = await service.request(path, init)
      expect(response.headers.get('X-Request-Id')).toBe(requestId)
      return ((await response.json()) as { id: string }).id
    }
    const running = await submit('/generate', { ...quick, prompt: 'a [sim:hang-step]' }, 'first')
    const waiting = await submit('/generate', { ...quick, prompt: 'b' }, 'second')
    const video = await submit(
      '/v1/videos',
      { prompt: 'c', size: '1280x720', seconds: '4' },
      'third',
    )
    await service.until(running, ({ stage }) => stage === 'denoising')
    const cancel = (path: string, method: string, requestId: string) =>
      service.request(path, { method, headers: headers(requestId) })
    await cancel(`/jobs?ids=${running},${waiting}`, 'DELETE', 'fourth')
    await cancel(`/v1/videos/${video}/cancel`, 'POST', 'fifth')

    const told = (id: string) =>
      linesOf(service, id).map(({ status, cancelRequested, requestId }) => {
        return [status, cancelRequested, requestId]
      })
    expect(told(running)).toEqual([
      ['queued', undefined, 'first'],
      ['running', undefined, undefined],
      ['running', true, 'fourth'],
      ['canceled', undefined, undefined],
    ])
    expect(told(waiting)).toEqual([
      ['queued', undefined, 'second'],
      ['canceled', undefined, 'fourth'],
    ])
    const jobOfVideo = video.replace(/^video_/, '')
    const own = service.log('job status').filter(({ requestId }) => requestId === 'third')
    expect(own).toMatchObject([{ status: 'queued' }])
    expect(String(own[0]?.jobId).replaceAll('-', '')).toBe(jobOfVideo.replaceAll('-', ''))
    expect(told(String(own[0]?.jobId)).at(-1)?.[0]).toBe('canceled')
    const last = service.log('job status').filter(({ requestId }) => requestId === 'fifth')
    expect(last).toHaveLength(1)
  })

  it('has a line for each change that somebody asks for, with the request', async () => {
    const receiver = await startReceiver()
    const service = await startService({ env: { GPU_IDS: '0', WEBHOOK_ALLOW: '127.0.0.1' } })
    const [video, whole, purged] = [
      await service.submit({ prompt: 'a' }),
      await service.submit({ prompt: 'b' }),
      await service.submit({ prompt: 'c' }),
    ]
    for (const id of [video, whole, purged]) await service.until(id)
    const ask = async (requestId: string, method: string, path: string, body?: object) => {
      const json = body && {
        headers: { 'Content-Type': 'application/json', 'X-Request-Id': requestId },
        body: JSON.stringify(body),
      }
      const init = { method, headers: { 'X-Request-Id': requestId }, ...json }
      const response = await service.request(path, init)
      expect(response.ok, `${method} ${path}: ${response.status}`).toBe(true)
      return (await response.json()) as { id: string }
    }
    const caused = (requestId: string) =>
      service
        .lines()
        .filter((line) => line.requestId === requestId)
        .map(({ msg, gpu, actor, jobId, webhookId, drained, change, jobs }) =>
          JSON.parse(JSON.stringify({ msg, gpu, actor, jobId, webhookId, drained, change, jobs })),
        )

    await ask('drain', 'POST', '/gpus/0/drain')
    await ask('resume', 'POST', '/gpus/0/resume')
    await ask('restart', 'POST', '/gpus/0/restart', { job: 'requeue' })
    await ask('pin', 'POST', `/jobs/${video}/pin`)
    await ask('unpin', 'POST', `/jobs/${video}/unpin`)
    await ask('delete-videos', 'DELETE', `/videos?ids=${video}`)
    await ask('delete-files', 'DELETE', `/jobs?ids=${whole}&delete_files=true`)
    await ask('delete', 'DELETE', `/v1/videos/video_${whole}`)
    await ask('purge-dry', 'POST', '/admin/purge', { older_than_days: 0 })
    await ask('purge', 'POST', '/admin/purge', { older_than_days: 0, dry_run: false })
    const { id: webhook } = await ask('register', 'POST', '/webhook', { url: receiver.url })
    await ask('rotate', 'POST', `/webhook/${webhook}/rotate`)
    const { id: delivery } = await ask('test', 'POST', `/webhook/${webhook}/test`)
    await receiver.until(1)
    await ask('replay', 'POST', `/webhook/deliveries/${delivery}/replay`)
    await ask('enable', 'POST', `/webhook/${webhook}/enable`)
    await ask('remove', 'DELETE', `/webhook/${webhook}`)

    const ofJob = (jobId: string, change: string) => [{ msg: 'job changed', jobId, change }]
    const ofWebhook = (change: string) => [{ msg: 'webhook changed', webhookId: webhook, change }]
    await vi.waitUntil(() => caused('remove').length > 0)
    expect(caused('drain')).toEqual([{ msg: 'gpu health', gpu: 0, drained: true }])
    expect(caused('resume')).toEqual([{ msg: 'gpu health', gpu: 0, drained: false }])
    expect(caused('restart')).toEqual([{ msg: 'actor restart asked for', actor: 'gpu-0' }])
    expect(caused('pin')).toEqual(ofJob(video, 'pinned'))
    expect(caused('unpin')).toEqual(ofJob(video, 'unpinned'))
    expect(caused('delete-videos')).toEqual(ofJob(video, 'video deleted'))
    expect(caused('delete-files')).toEqual(ofJob(whole, 'video deleted'))
    expect(caused('delete')).toEqual(ofJob(whole, 'deleted'))
    expect(caused('purge-dry')).toEqual([])
    expect(caused('purge')).toEqual([{ msg: 'jobs purged', jobs: 2 }])
    expect(caused('register')).toEqual(ofWebhook('registered'))
    expect(caused('rotate')).toEqual(ofWebhook('secret rotated'))
    expect(caused('test')).toEqual(ofWebhook('test asked for'))
    expect(caused('replay')).toEqual(ofWebhook('replay asked for'))
    expect(caused('enable')).toEqual(ofWebhook('enabled'))
    expect(caused('remove')).toEqual(ofWebhook('removed'))
  })

  it('gets no line from polls, however many', async () => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    const id = await service.submit({ prompt: 'a fox [sim:hang-step]' })
    await service.until(id, ({ stage }) => stage === 'denoising')
    await vi.waitUntil(() => linesOf(service, id).length === 2)
    const before = service.allLogs()
    const paths = ['/health', '/ready', '/metrics', '/gpus', '/jobs', '/videos', `/status/${id}`]
    for (let n = 0; n < 30; n++) {
      for (const path of [...paths, '/nothing', '/status/nobody']) await service.request(path)
    }
    expect(service.allLogs()).toBe(before)
  })

  it('has no secret in it, wherever one was sent', async () => {
    const receiver = await startReceiver({
      answer: (_, response) => void response.writeHead(500).end(),
    })
    const secret = () => `s${crypto.randomUUID().replaceAll('-', '')}`
    const token = secret()
    const sent: Record<string, string> = {
      token,
      unknown: secret(),
      password: secret(),
      query: secret(),
      cookie: secret(),
      key: secret(),
      body: secret(),
      path: secret(),
      webhook: `whsec_${btoa(secret())}`,
      own: `whsec_${btoa(secret())}`,
    }
    const env = { API_TOKENS: `ada:${token}:admin`, WEBHOOK_ALLOW: '127.0.0.1', LOG_LEVEL: 'debug' }
    const service = await startService({ env })
    const ada = service.as(token)
    const json = { 'Content-Type': 'application/json' }
    const post = (path: string, body: object) =>
      ada.request(path, { method: 'POST', headers: json, body: JSON.stringify(body) })

    for (const Authorization of [`Bearer ${sent.unknown}`, `Basic ${btoa(`ada:${sent.password}`)}`])
      await service.request('/jobs', { headers: { Authorization } })
    await service.request(`/jobs?token=${sent.query}&access_token=${sent.query}`)
    await ada.request(`/status/x?signature=${sent.query}`)
    await ada.request(`/jobs/${sent.path}`)
    await ada.request('/jobs', {
      headers: { Cookie: `session=${sent.cookie}`, 'X-API-Key': sent.key },
    })
    await post('/generate', { ...quick, prompt: 'a', token: sent.body, api_key: sent.body })
    await post('/generate', {
      ...quick,
      prompt: 'a',
      webhook_url: `http://ada:${sent.password}@127.0.0.1/`,
    })
    await post('/webhook', { url: receiver.url, secret: sent.webhook })
    const job = await ada.submit({
      prompt: 'a fox',
      webhook_url: `${receiver.url}?token=${sent.query}`,
      webhook_secret: sent.own,
    })
    const { file_url } = await ada.until(job)
    await receiver.until(2)
    const link = new URL(String(file_url), service.url)
    sent.signature = String(link.searchParams.get('signature'))
    await service.request(link.pathname + link.search)
    await service.request(`${link.pathname}${link.search}${sent.unknown}`)
    await vi.waitUntil(() => service.log('webhook delivery').length >= 2, { timeout: 10_000 })
    await service.stop()

    const written = service.allLogs() + service.stderr()
    expect(written).toContain(job)
    for (const [where, value] of Object.entries(sent)) expect(written, where).not.toContain(value)
    const linkKey = readFileSync(join(service.dataDir, 'link.key'))
    for (const form of ['hex', 'base64', 'base64url', 'latin1'] as const)
      expect(written).not.toContain(linkKey.toString(form))
  })

  it('is for people where it is shown on a terminal', async () => {
    const dataDir = aDataDirectory()
    const onTerminal = 'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))'
    const child = spawn('python3', ['-c', onTerminal, process.execPath, main], {
      env: serviceEnvironment(dataDir, { TERM: 'xterm' }),
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    onTestFinished(async () => {
      killLeftovers(dataDir)
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    })
    let shown = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      shown += text
    })
    await vi.waitUntil(() => shown.includes('listening'), { timeout: 30_000 })
    await vi.waitUntil(() => shown.includes('dataDir'), { timeout: 5_000 })
    expect(shown).not.toContain('{"level"')
    expect(shown).not.toBe(stripVTControlCharacters(shown))
    expect(stripVTControlCharacters(shown)).toMatch(/\[\d\d:\d\d:\d\d\.\d{3}\] INFO: listening/)
  })
})

const linesOf = (service: Service, id: string) =>
  service.log('job status').filter(({ jobId }) => jobId === id)
