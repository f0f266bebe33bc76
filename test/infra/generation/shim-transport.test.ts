import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as v from 'valibot'
import { describe, expect, it, onTestFinished } from 'vitest'
import { JobId } from '../../../src/domain/job.ts'
import { createShimTransport } from '../../../src/infra/generation/shim-transport.ts'
import type { ForkServer } from '../../../src/infra/processes/fork-server.ts'
import { quick } from '../../support/service.ts'

const jobId = v.parse(JobId, '11111111-1111-4111-8111-111111111111')

function aWorkDir(): string {
  const workDir = mkdtempSync(join(tmpdir(), 'work-'))
  onTestFinished(() => rmSync(workDir, { recursive: true }))
  return workDir
}

function startWith(startShim: ForkServer['startShim'], workDir = aWorkDir()) {
  const transport = createShimTransport({
    data: { workDir },
    wan: {
      ...{ python: 'python3', wanDir: '/wan', ckptDir: '/ckpt', extraArgs: [] },
      ...{ task: 'ti2v-5B', launcher: true, sdpa: false, fastLoad: false },
    },
    device: '0',
    env: {},
    starter: { startShim },
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

  it.each<[what: string, put: (path: string, elsewhere: string) => void]>([
    ['a file', (path) => writeFileSync(path, 'old')],
    ['a link to another file', (path, elsewhere) => symlinkSync(elsewhere, path)],
    ['a directory', (path) => mkdirSync(path)],
  ])('does not mind that an earlier attempt has put %s in its place', async (_what, put) => {
    const workDir = aWorkDir()
    const attemptDir = join(workDir, jobId, '1')
    const elsewhere = join(workDir, 'elsewhere')
    mkdirSync(attemptDir, { recursive: true })
    writeFileSync(elsewhere, 'untouched')
    for (const name of ['spec.json', 'shim.log']) put(join(attemptDir, name), elsewhere)
    const end = await startWith(async () => ({ how: 'unwatched' }), workDir)
    expect(end).toEqual({ how: 'unwatched' })
    expect(JSON.parse(readFileSync(join(attemptDir, 'spec.json'), 'utf8'))).toMatchObject({
      job: jobId,
      epoch: 1,
    })
    expect(existsSync(join(attemptDir, 'shim.log'))).toBe(false)
    expect(readFileSync(elsewhere, 'utf8')).toBe('untouched')
  })
})
