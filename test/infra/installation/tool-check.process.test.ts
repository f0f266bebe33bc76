import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { checkTool } from '../../../src/infra/installation/tool-check.ts'

let directory: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'wan-tool-'))
  vi.stubEnv('PATH', `${directory}:${process.env.PATH}`)
  onTestFinished(() => {
    vi.unstubAllEnvs()
    rmSync(directory, { recursive: true })
  })
})

describe('the check of a tool', () => {
  it('starts a tool that ran again only when its file has changed', async () => {
    const check = checkTool('wan-tool', ['wan-tool', '-version'], 'Install it.')
    install('echo version 1')
    expect(await check()).toEqual({ name: 'wan-tool', ok: true, detail: 'version 1' })
    expect(await check()).toMatchObject({ ok: true, detail: 'version 1' })
    expect(starts()).toBe(1)
    install('echo version 22')
    expect(await check()).toMatchObject({ ok: true, detail: 'version 22' })
    expect(starts()).toBe(2)
  })

  it('starts a tool that failed at every check', async () => {
    const check = checkTool('wan-tool', ['wan-tool', '-version'], 'Install it.')
    install('exit 1')
    expect(await check()).toMatchObject({ ok: false })
    expect(await check()).toMatchObject({ ok: false })
    expect(starts()).toBe(2)
  })

  it('fails when the tool is removed, and says what to install', async () => {
    const check = checkTool('wan-tool', ['wan-tool', '-version'], 'Install it.')
    install('echo version 1')
    await check()
    rmSync(join(directory, 'wan-tool'))
    const { ok, detail } = await check()
    expect(ok).toBe(false)
    expect(detail).toContain('Install it.')
  })

  it('starts a tool that ran again after ten minutes', async () => {
    const check = checkTool('wan-tool', ['wan-tool', '-version'], 'Install it.')
    install('echo version 1')
    await check()
    vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 10 * 60_000)
    onTestFinished(() => void vi.restoreAllMocks())
    await check()
    expect(starts()).toBe(2)
  })
})

function install(command: string): void {
  const path = join(directory, 'wan-tool')
  writeFileSync(path, `#!/bin/sh\necho start >> ${directory}/starts\n${command}\n`)
  chmodSync(path, 0o755)
}

const starts = (): number =>
  readFileSync(join(directory, 'starts'), 'utf8').trim().split('\n').length
