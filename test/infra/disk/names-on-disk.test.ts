import { mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createNamesOnDisk } from '../../../src/infra/disk/names-on-disk.ts'

describe('a name on disk', () => {
  it('is taken by a file, a directory and a broken link, also in other letters', async () => {
    const directory = aDirectory()
    writeFileSync(join(directory, 'E\u0301mile.mp4'), '')
    mkdirSync(join(directory, 'Fox.mp4'))
    symlinkSync('/nowhere', join(directory, 'owl.mp4'))
    const names = createNamesOnDisk(directory)
    for (const name of ['émile.mp4', 'FOX.mp4', 'owl.mp4']) expect(await names.has(name)).toBe(true)
    expect(await names.has('wolf.mp4')).toBe(false)
  })

  it('is taken as soon as it appears, and free as soon as it is gone', async () => {
    const directory = aDirectory()
    const names = createNamesOnDisk(directory)
    const path = join(directory, 'fox.mp4')
    for (let round = 0; round < 20; round++) {
      expect(await names.has('fox.mp4')).toBe(false)
      writeFileSync(path, '')
      expect(await names.has('fox.mp4')).toBe(true)
      rmSync(path)
    }
  })

  it('is known without another scan when nothing has changed for a while', async () => {
    const directory = aDirectory()
    writeFileSync(join(directory, 'fox.mp4'), '')
    const longAgo = new Date('2026-01-01')
    utimesSync(directory, longAgo, longAgo)
    const names = createNamesOnDisk(directory)
    expect(await names.has('fox.mp4')).toBe(true)
    // As no file system does it: a change without a later time shows that nothing is read.
    writeFileSync(join(directory, 'owl.mp4'), '')
    utimesSync(directory, longAgo, longAgo)
    expect(await names.has('owl.mp4')).toBe(false)
  })

  it('is looked up for many at once', async () => {
    const directory = aDirectory()
    writeFileSync(join(directory, 'fox.mp4'), '')
    const names = createNamesOnDisk(directory)
    const found = await Promise.all(
      Array.from({ length: 50 }, (_, n) => names.has(n % 2 === 0 ? 'FOX.mp4' : 'owl.mp4')),
    )
    expect(found).toEqual(found.map((_, n) => n % 2 === 0))
  })

  it('cannot be told without the directory', async () => {
    const names = createNamesOnDisk(join(aDirectory(), 'away'))
    await expect(names.has('fox.mp4')).rejects.toThrow('ENOENT')
    await expect(names.has('fox.mp4')).rejects.toThrow('ENOENT')
  })
})

function aDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'names-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}
