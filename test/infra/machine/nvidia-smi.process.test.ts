import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { detectGpus } from '../../../src/infra/machine/gpus.ts'
import { listGpus } from '../../../src/infra/machine/nvidia-smi.ts'

const rtx = {
  index: 0,
  name: 'NVIDIA GeForce RTX 4090',
  uuid: 'GPU-8932f937-d72c-4106-c12f-20bd9faed9f6',
}
const h200 = { index: 1, name: 'NVIDIA H200', uuid: 'GPU-1a02e2a4-0b1f-4f9d-8f1e-2d4c5b6a7f80' }
const mig = 'MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f'

const listedRtx = { id: 0, device: '0', name: rtx.name, uuid: rtx.uuid }
const listedH200 = { id: 1, device: '1', name: h200.name, uuid: h200.uuid }

describe('nvidia-smi', () => {
  let directory: string

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'nvidia-smi-'))
    // Nothing else is on the PATH: what runs nvidia-smi must need no other program from there.
    vi.stubEnv('PATH', directory)
  })

  afterEach(() => {
    vi.unstubAllEnvs()
    rmSync(directory, { recursive: true })
  })

  const install = (script: string): void =>
    writeFileSync(join(directory, 'nvidia-smi'), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  const pidIn = (name: string): number => Number(readFileSync(join(directory, name), 'utf8'))
  const isAlive = (pid: number): boolean => existsSync(`/proc/${pid}`)

  it('lists GPUs without their MIG slices', async () => {
    install(`[ "$*" = -L ] || exit 2
echo 'GPU 0: ${rtx.name} (UUID: ${rtx.uuid})'
echo 'GPU 1: ${h200.name} (UUID: ${h200.uuid})'
echo '  MIG 1g.18gb     Device  0: (UUID: ${mig})'
echo 'a warning' >&2`)
    expect(await listGpus()).toEqual({ ok: true, gpus: [rtx, h200] })
    expect(await detectGpus({})).toEqual([listedRtx, listedH200])
  })

  it('may find no device', async () => {
    install(`echo 'No devices found.'`)
    expect(await listGpus()).toEqual({ ok: true, gpus: [] })
  })

  it('is given up and killed when it hangs', async () => {
    install(`echo $$ > ${directory}/pid; exec /bin/sleep 60`)
    expect(await listGpus({ timeoutMs: 500 })).toEqual({
      ok: false,
      why: 'nvidia-smi did not answer within 0.5 s',
    })
    await expect.poll(() => isAlive(pidIn('pid'))).toBe(false)
  })

  it('is given up even when something out of reach keeps its output open', async () => {
    install(`/usr/bin/setsid /bin/sh -c 'echo $$ > ${directory}/stray; exec /bin/sleep 60' &
exec /bin/sleep 60`)
    expect(await listGpus({ timeoutMs: 500 })).toMatchObject({ ok: false })
    expect(isAlive(pidIn('stray'))).toBe(true)
    process.kill(pidIn('stray'))
  })

  it.each([
    {
      ends: 'with an exit code',
      script: `echo 'NVIDIA-SMI has failed: no driver'; echo 'more' ; exit 9`,
      why: 'nvidia-smi was ended with exit code 9: NVIDIA-SMI has failed: no driver',
    },
    { ends: 'without a word', script: 'exit 9', why: 'nvidia-smi was ended with exit code 9' },
    { ends: 'by a signal', script: 'kill -SEGV $$', why: 'nvidia-smi was ended by SIGSEGV' },
  ])('may end $ends', async ({ script, why }) => {
    install(script)
    expect(await listGpus()).toEqual({ ok: false, why })
  })

  it('may be missing', async () => {
    expect(await listGpus()).toEqual({ ok: false, why: 'nvidia-smi is not installed' })
    await expect(detectGpus({})).rejects.toThrow('nvidia-smi is not installed. To try')
  })
})
