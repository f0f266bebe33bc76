import { once } from 'node:events'
import { createServer } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { readConfig } from '../../src/config/config.ts'
import { createService, type Service } from '../../src/service/service.ts'
import { aDataDirectory, quick, serviceEnvironment } from '../support/service.ts'

describe('createService', () => {
  it('makes a video, stops, and finds the job again after the next start', async () => {
    const { service } = aService()
    const url = await service.start()
    const { id } = (await (await submit(url)).json()) as { id: string }
    await expect.poll(() => statusOf(url, id), { timeout: 30_000 }).toBe('success')

    await service.stop()
    await expect(fetch(`${url}/health`)).rejects.toThrow()
    expect(await statusOf(await service.start(), id)).toBe('success')
  })

  it('leaves a running generation to the next start', async () => {
    const { service } = aService({ SIM_SPEED: '40' })
    const url = await service.start()
    const { id } = (await (await submit(url)).json()) as { id: string }
    await expect.poll(() => statusOf(url, id)).toBe('running')

    await service.stop()
    const again = await service.start()
    await expect.poll(() => statusOf(again, id), { timeout: 30_000 }).toBe('success')
    expect(await describeJob(again, id)).toMatchObject({ attempt: 1 })
  })

  it('closes what it has opened when the start fails', async () => {
    const blocker = createServer().listen(0, '127.0.0.1')
    await once(blocker, 'listening')
    onTestFinished(() => void blocker.close())
    const { port } = blocker.address() as { port: number }
    const { service, dataDir } = aService({ PORT: String(port) })
    await expect(service.start()).rejects.toThrow('set HOST or PORT to another')

    const { service: other } = aService({}, dataDir)
    await expect(other.start()).resolves.toMatch(/^http/)
  })

  it('rejects a data directory that another service uses', async () => {
    const { service, dataDir } = aService()
    await service.start()
    const { service: other } = aService({}, dataDir)
    await expect(other.start()).rejects.toThrow('in use by another wan-supervisor')
  })

  it('stops after the start when it is asked to stop during the start', async () => {
    const { service } = aService()
    const starting = service.start()
    await service.stop()
    await expect(fetch(`${await starting}/health`)).rejects.toThrow()
  })
})

function aService(
  env: NodeJS.ProcessEnv = {},
  dataDir = aDataDirectory(),
): { service: Service; dataDir: string } {
  const whole = serviceEnvironment(dataDir, env)
  const quiet = () => {}
  const service = createService(readConfig(whole), {
    env: whole,
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
  })
  onTestFinished(() => service.stop('kill'))
  return { service, dataDir }
}

const submit = (url: string) =>
  fetch(`${url}/generate`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ prompt: 'a fox', ...quick }),
  })

const describeJob = async (url: string, id: string) =>
  (await (await fetch(`${url}/status/${id}`)).json()) as { status: string }

const statusOf = async (url: string, id: string) => (await describeJob(url, id)).status
