import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as v from 'valibot'
import { describe, expect, it, onTestFinished } from 'vitest'
import { JobId } from '../../../src/domain/job.ts'
import { createShimTransport } from '../../../src/infra/generation/shim-transport.ts'
import type { ForkServer } from '../../../src/infra/processes/fork-server.ts'
import { quick } from '../../support/service.ts'

const jobId = v.parse(JobId, '11111111-1111-4111-8111-111111111111')

function startWith(startShim: ForkServer['startShim']) {
  const workDir = mkdtempSync(join(tmpdir(), 'work-'))
  onTestFinished(() => rmSync(workDir, { recursive: true }))
  const transport = createShimTransport({
    data: { workDir },
    wan: {
      ...{ python: 'python3', wanDir: '/wan', ckptDir: '/ckpt', extraArgs: [] },
      ...{ task: 'ti2v-5B', launcher: true, sdpa: false },
    },
    device: '0',
    env: {},
    forkServer: { startShim },
  })
  return transport({ jobId, epoch: 1, request: { ...quick, prompt: 'a fox', seed: 1 } }).start()
}

describe('the start of a shim', () => {
  const why = 'No such file or directory'

  it('is repeated later when the directory of the attempt was removed', async () => {
    const end = await startWith(async (directory) => {
      expect(existsSync(join(directory, 'spec.json'))).toBe(true)
      rmSync(directory, { recursive: true })
      return { how: 'cannotStart', why }
    })
    expect(end).toEqual({ how: 'unwatched' })
  })

  it('fails when something else is missing', async () => {
    const end = await startWith(async () => ({ how: 'cannotStart', why }))
    expect(end).toEqual({ how: 'cannotStart', why: `${why} (WAN_PYTHON is python3)` })
  })
})
