import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { simulatorDir } from '../../src/infra/installation/simulation.ts'
import { aDataDirectory } from '../support/service.ts'
import { describeChanges, isCheckout } from './wan-code.ts'

function aCopyWithOtherCode(): string {
  const directory = aDataDirectory()
  mkdirSync(join(directory, 'wan'))
  writeFileSync(join(directory, 'wan', '__init__.py'), '# not the original\n')
  return directory
}

describe('the code of Wan2.2', () => {
  it('is refused when the package differs from the recorded files', async () => {
    const codeDir = aCopyWithOtherCode()
    const refused = describeChanges({ wanDir: codeDir, codeDir, isCheckout: false })
    await expect(refused).rejects.toThrow(/package wan22 is not as in Wan2.2 .*wan\/__init__.py/)
  })

  it('is used from a checkout that differs, and the differing files are named', async () => {
    const codeDir = aCopyWithOtherCode()
    const described = await describeChanges({ wanDir: codeDir, codeDir, isCheckout: true })
    expect(described).toMatch(/wan\/__init__.py, .*wan\/textimage2video.py/)
  })

  it('does not come from the simulator, which has a generate.py too', () => {
    expect(isCheckout(simulatorDir)).toBe(false)
  })
})
