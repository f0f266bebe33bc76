import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { aDataDirectory, type Service, startService } from '../support/service.ts'
import { isFollower } from '../support/store/shared-postgres.ts'

type Readiness = {
  ready: boolean
  nodes: { present: number; left: number; lost: number; leader: string | null }
  checks: { name: string; ok: boolean; detail: string; age_seconds: number; node?: string }[]
}

describe('GET /ready', () => {
  it('says of each thing whether it is so, how old that verdict is, and what to do', async () => {
    const dataDir = aDataDirectory()
    const wanDir = join(dataDir, 'wan')
    mkdirSync(wanDir)
    const service = await startService({ dataDir, env: { WAN_DIR: wanDir } })
    const { status, checks, nodes } = await settled(service)
    expect(status).toBe(503)
    const [present, leader] = isFollower ? [2, 'leader'] : [1, 'local']
    expect(nodes).toEqual({ present, left: 0, lost: 0, leader })
    const ofAll = ['queue', 'disk', 'environment', 'loading', 'gpus', 'database']
    expect(checks.map(({ name }) => name)).toEqual(
      isFollower
        ? // The leader has no GPUs, so it needs no checkout. Failed checks of other nodes follow.
          [...ofAll, 'python', 'ffmpeg', 'ffprobe', 'generate.py']
        : [...ofAll, 'generate.py', 'checkpoint', 'python', 'ffmpeg', 'ffprobe'],
    )
    for (const { age_seconds } of checks) expect(age_seconds).toBeGreaterThanOrEqual(0)
    const check = (name: string) => checks.find((one) => one.name === name)
    for (const name of ['queue', 'disk', 'gpus', 'database', 'python', 'ffmpeg', 'ffprobe'])
      expect(check(name)).toMatchObject({ ok: true })
    expect(check('environment')?.ok).toBe(!isFollower)
    expect(check('generate.py')).toMatchObject({
      ...{ ok: false, ...(isFollower && { node: 'local' }) },
      detail: `${wanDir}/generate.py is not there. Set WAN_DIR to a checkout of Wan2.2.`,
    })
  })

  it('waits for no tool that hangs, and says which one does', async () => {
    const dataDir = aDataDirectory()
    const bin = join(dataDir, 'bin')
    mkdirSync(bin)
    writeFileSync(join(bin, 'ffprobe'), '#!/bin/sh\nexec sleep 1000\n')
    chmodSync(join(bin, 'ffprobe'), 0o755)
    const service = await startService({ dataDir, env: { PATH: `${bin}:${process.env.PATH}` } })
    const isTold = async () => {
      const begun = performance.now()
      const { checks } = await ready(service)
      expect(performance.now() - begun).toBeLessThan(3_000)
      return checks.some(({ name, detail }) => name === 'ffprobe' && detail.includes('took longer'))
    }
    await vi.waitUntil(isTold, { timeout: 20_000, interval: 100 })
  })

  it('answers while the queue is being started again, and says so', async () => {
    const service = await startService({ env: { FAULT_INJECTION: '1' } })
    writeFileSync(join(service.queue.dataDir, 'crash'), 'queue')
    service.queue.child.kill('SIGUSR2')
    const isTold = async () => {
      const { status, checks } = await ready(service)
      return status === 503 && checks.some(({ name, ok }) => name === 'queue' && !ok)
    }
    await vi.waitUntil(isTold, { timeout: 10_000, interval: 10 })
    expect((await service.request('/health')).status).toBe(200)
    await vi.waitUntil(
      async () => (await ready(service)).checks.some(({ name, ok }) => name === 'queue' && ok),
      { timeout: 10_000 },
    )
  })
})

async function ready(service: Service): Promise<Readiness & { status: number }> {
  const response = await service.request('/ready')
  return { status: response.status, ...((await response.json()) as Readiness) }
}

/** Once each thing has been looked at. */
async function settled(service: Service) {
  let now = await ready(service)
  const isSettled = async () => {
    now = await ready(service)
    const areLookedAt = now.checks.every(({ detail }) => detail !== 'Not looked at yet.')
    return areLookedAt && now.checks.some(({ name, ok }) => name === 'generate.py' && !ok)
  }
  await vi.waitUntil(isSettled, { timeout: 10_000 })
  return now
}
