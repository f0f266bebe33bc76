import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  appendRegularFileSync,
  isRegularFile,
  openRegularFile,
  openRegularFileSync,
  readRegularFile,
  readRegularFileSync,
  statRegularFile,
  UnexpectedFileError,
} from '../../../src/infra/disk/regular-file.ts'
import { aFileOfHoles, irregularFiles } from '../../support/hostile-files.ts'
import { aDataDirectory } from '../../support/service.ts'

const aPath = (): string => join(aDataDirectory(), 'file')

describe('what is in the place of a file', () => {
  it.each(irregularFiles)('is neither opened, read nor written when it is %s', async (_, put) => {
    const path = aPath()
    await put(path)
    expect(() => openRegularFileSync(path)).toThrow(UnexpectedFileError)
    expect(() => readRegularFileSync(path, 1_000)).toThrow(UnexpectedFileError)
    expect(() => appendRegularFileSync(path, 'text')).toThrow(UnexpectedFileError)
    expect(await openRegularFile(path)).toBe('other')
    expect(await statRegularFile(path)).toBe('other')
    expect(await readRegularFile(path, 1_000)).toBeUndefined()
    expect(await isRegularFile(path)).toBe(false)
  })

  it('is not written when it is a FIFO that somebody reads', async () => {
    const path = aPath()
    execFileSync('mkfifo', [path])
    const reader = await open(path, 'r+')
    onTestFinished(() => reader.close())
    expect(() => appendRegularFileSync(path, 'text')).toThrow(UnexpectedFileError)
    expect(() => readRegularFileSync(path, 1_000)).toThrow(UnexpectedFileError)
  })

  it('is read whole when it is a regular file, whatever its length', async () => {
    const path = aPath()
    for (const length of [0, 1, 64 * 1024, 200_000]) {
      writeFileSync(path, 'x'.repeat(length))
      expect((await readRegularFile(path, 200_000))?.toString()).toBe('x'.repeat(length))
      expect(readRegularFileSync(path, 200_000)?.toString()).toBe('x'.repeat(length))
    }
    expect(await isRegularFile(path)).toBe(true)
  })

  it('is not read to its end when it is longer than expected', async () => {
    const path = aPath()
    aFileOfHoles(path, 2 ** 40)
    expect(() => readRegularFileSync(path, 100_000)).toThrow('longer than 100000 bytes')
    expect(await readRegularFile(path, 100_000)).toBeUndefined()
  })

  it('may be nothing', async () => {
    const path = aPath()
    expect(openRegularFileSync(path)).toBeUndefined()
    expect(readRegularFileSync(path, 10)).toBeUndefined()
    expect(await openRegularFile(path)).toBe('missing')
    expect(await readRegularFile(path, 10)).toBeUndefined()
    expect(await isRegularFile(path)).toBe(false)
  })

  it('is created and continued by appending', () => {
    const path = aPath()
    appendRegularFileSync(path, 'one\n')
    appendRegularFileSync(path, 'two\n')
    expect(readFileSync(path, 'utf8')).toBe('one\ntwo\n')
  })
})
