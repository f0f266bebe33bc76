import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sql } from 'kysely'
import { describe, expect, it } from 'vitest'
import { main } from '../../../../bench/built.ts'
import { UnusableDatabaseError } from '../../../../src/infra/store/unusable-database.ts'
import { aSmallDisk, canMount } from '../../../support/disk/small-disk.ts'
import { jobId } from '../../../support/jobs.ts'
import { serviceEnvironment } from '../../../support/service.ts'
import { aDatabaseLockHolder } from '../../../support/store/database-lock-holder.ts'
import { useSqliteFile } from '../../../support/store/sqlite-file.ts'

const file = useSqliteFile()

describe('a database that cannot be used', () => {
  it('is one that another program is writing to', { timeout: 20_000 }, async () => {
    await file.holding(1)
    await aDatabaseLockHolder(file.path)
    expect(refusal()).toMatch(/state\.db is locked by another program\. Close/)
  })

  it.runIf(canMount)('is one that is mounted as a single file', async () => {
    await file.holding(1)
    const path = file.inDirectory('mounted here.db')
    writeFileSync(path, '')
    execFileSync('mount', ['--bind', file.path, path])
    try {
      expect(refusal(path)).toMatch(/is mounted as a single file\. .*Mount the directory/)
    } finally {
      execFileSync('umount', ['-l', path])
    }
  })
})

describe('the service', () => {
  it('says in one sentence why it does not start, and how it will', async () => {
    mkdirSync(join(file.directory, 'work', jobId(1)), { recursive: true })
    const { code, stderr } = await startInVain()
    expect(code).toBe(1)
    expect(stderr).toMatch(/^wan-supervisor cannot start\. \S+state\.db is missing or empty, .*\n$/)
    expect(existsSync(file.path)).toBe(false)
  })
})

describe('the check of a database', () => {
  it('does not wait while another program is in the middle of a change, and leaves all as it is', async () => {
    const database = file.open()
    // Not by its first look only.
    expect(await database.check()).toMatchObject({ ok: true })
    const holder = await aDatabaseLockHolder(file.path)
    const begun = performance.now()
    expect(await database.check()).toMatchObject({ ok: false })
    expect(performance.now() - begun).toBeLessThan(2_000)
    holder.kill('SIGKILL')
    await once(holder, 'exit')
    expect(await database.check()).toMatchObject({ ok: true })
    const { rows } = await sql`pragma busy_timeout`.execute(database.db)
    expect(rows).toEqual([{ timeout: 3_000 }])
  })

  it.runIf(canMount)('says that there is no room when there is none', async () => {
    const disk = aSmallDisk({ mib: 1 })
    const path = join(disk.path, 'state.db')
    const database = file.open(path)
    disk.fill()
    expect(await database.check()).toMatchObject({
      ok: false,
      detail: `There is no room on the disk of ${path}: make some.`,
    })
    disk.makeRoom()
    expect(await database.check()).toMatchObject({ ok: true })
  })
})

function refusal(path = file.path): string {
  try {
    file.open(path)
  } catch (error) {
    expect(error).toBeInstanceOf(UnusableDatabaseError)
    return (error as Error).message
  }
  throw new Error('it was opened')
}

async function startInVain(): Promise<{ code: number | null; stderr: string }> {
  const env = serviceEnvironment(file.directory)
  const child = spawn(process.execPath, [main], { env, stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.on('data', (chunk) => (stderr += chunk))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stderr }
}
