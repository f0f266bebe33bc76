import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { readHome } from '../../src/cluster/home.ts'

describe('the id of a data directory', () => {
  it('is chosen once, and differs from that of another', async () => {
    const directory = aDirectory()
    const home = await readHome(directory)
    expect(await readHome(directory)).toBe(home)
    expect(await readHome(aDirectory())).not.toBe(home)
    expect(readdirSync(directory)).toEqual(['home'])
  })

  it('is not replaced silently when its file is damaged', async () => {
    const directory = aDirectory()
    writeFileSync(join(directory, 'home'), '\0\0\0\0')
    await expect(readHome(directory)).rejects.toThrow(
      'Delete it: the next start writes another one',
    )
  })
})

function aDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'wan-home-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  return directory
}
