import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  commandIn,
  lastWordsOfShim,
  readExit,
  shimLife,
  workerAgeMs,
} from '../../../src/infra/processes/shim-client.ts'
import { aFileOfHoles, irregularFiles } from '../../support/hostile-files.ts'
import { jobId } from '../../support/jobs.ts'
import { aDataDirectory } from '../../support/service.ts'

describe('the files of an attempt', () => {
  it.each([
    ...irregularFiles,
    ['a file of 1 TB', (path: string) => aFileOfHoles(path, 2 ** 40)] as const,
  ])('count as absent where there is %s in the place of each', async (_, put) => {
    const attemptDir = aDataDirectory()
    for (const name of ['exit.json', 'state.json', 'spec.json', 'shim.log']) {
      await put(join(attemptDir, name))
    }
    expect(await readExit(attemptDir)).toBeUndefined()
    expect(await shimLife(attemptDir, { jobId: jobId(1), epoch: 1 })).toBe('unknown')
    expect(workerAgeMs(attemptDir)).toBeUndefined()
    expect(commandIn(attemptDir)).toBeUndefined()
    expect(await lastWordsOfShim(attemptDir)).toBe('it said nothing')
  })

  it('are read when they are as the shim has written them', async () => {
    const attemptDir = aDataDirectory()
    writeFileSync(join(attemptDir, 'spec.json'), '{"argv": ["python3", "generate.py"]}')
    writeFileSync(join(attemptDir, 'shim.log'), 'first\nlast\n')
    expect(commandIn(attemptDir)).toEqual(['python3', 'generate.py'])
    expect(await lastWordsOfShim(attemptDir)).toBe('last')
    rmSync(join(attemptDir, 'spec.json'))
    expect(commandIn(attemptDir)).toBeUndefined()
  })
})
