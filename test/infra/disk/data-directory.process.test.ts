import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { root } from '../../../src/config/root.ts'
import { lockDirectory } from '../../../src/infra/disk/lock.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'data-directory-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

describe('the lock of a data directory', () => {
  const others: ChildProcess[] = []
  afterEach(() => {
    for (const other of others.splice(0)) other.kill('SIGKILL')
  })

  it('names the process that has it, and goes with that process, however it dies', async () => {
    const other = await holder()
    expect(readFileSync(join(directory, 'service.pid'), 'utf8')).toBe(`${other.pid}\n`)
    expect(() => lockDirectory(directory)).toThrow(`pid ${other.pid}`)

    other.kill('SIGKILL')
    await once(other, 'exit')
    const lock = lockDirectory(directory)
    expect(readFileSync(join(directory, 'service.pid'), 'utf8')).toBe(`${process.pid}\n`)
    lock.release()
  })

  async function holder(): Promise<ChildProcess> {
    const script = join(root, 'test/support/disk/lock-holder.ts')
    const child = spawn(process.execPath, ['--expose-gc', script, directory], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    others.push(child)
    await once(child.stdout, 'data')
    return child
  }
})
