import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import {
  markerName,
  newResultsId,
  readMarker,
  refuseResults,
  resultsDirectory,
  writeMarker,
} from '../../../src/infra/disk/results-directory.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'results-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
})

const secret = 'a secret'
const id = newResultsId(secret)
const shared = { id, home: 'home-of-a' }

describe('a shared directory of results', () => {
  it('is recognised by its id', async () => {
    const results = resultsDirectory(directory, shared)
    await expect(results.check()).rejects.toMatchObject({
      code: 'ENOTCONN',
      message: expect.stringContaining('Check that its file system is mounted'),
    })
    await writeMarker(directory, id)
    expect(await readMarker(directory)).toBe(id)
    await results.check()
    expect(readdirSync(directory)).toEqual([markerName])
    const other = resultsDirectory(directory, { ...shared, id: newResultsId(secret) })
    await expect(other.check()).rejects.toThrow('is not the directory that this cluster shares')
  })

  it('keeps the id that it got first', async () => {
    await Promise.all(['first', 'second', 'third'].map((one) => writeMarker(directory, one)))
    const first = await readMarker(directory)
    await writeMarker(directory, 'late')
    expect(await readMarker(directory)).toBe(first)
  })

  it('cannot be one that does not exist or cannot be written into', async () => {
    await expect(writeMarker(join(directory, 'none'), id)).rejects.toThrow('cannot be shared')
  })

  it('has names of unfinished files for each node', () => {
    const prefixes = ['home-of-a', 'home-of-b'].map(
      (home) => resultsDirectory(directory, { id, home }).unfinishedPrefix,
    )
    expect(prefixes).toEqual(['.unfinished.home-of-a.', '.unfinished.home-of-b.'])
    expect(resultsDirectory(directory).unfinishedPrefix).toBe('.unfinished.')
  })
})

describe('a directory of one machine', () => {
  it('is away when it does not exist', async () => {
    await resultsDirectory(directory).check()
    await expect(resultsDirectory(join(directory, 'none')).check()).rejects.toThrow('ENOENT')
  })
})

describe('the directory of a node', () => {
  const refuse = (options: Partial<Parameters<typeof refuseResults>[0]>) =>
    refuseResults({
      ...{ resultsDir: '/mnt/videos', isShared: true, recorded: id, marker: id, secret },
      ...options,
    })
  const [none, ofOther] = [undefined, newResultsId('another secret')]

  it.each<[what: string, options: Parameters<typeof refuse>[0]]>([
    ['that of the cluster', {}],
    ['the first one that is shared', { recorded: none, marker: none }],
    ['one that was about to be shared', { recorded: none }],
    ['one of its own, as all have', { recorded: none, marker: none, isShared: false }],
  ])('is accepted when it is %s', (_what, options) => {
    expect(refuse(options)).toBeUndefined()
  })

  it.each<[what: string, options: Parameters<typeof refuse>[0], why: string]>([
    ['another one than the others have', { marker: none }, `run: echo ${id} > /mnt/videos/.wan-c`],
    ['shared by nobody else', { marker: newResultsId(secret) }, 'is missing or has another id'],
    ['that of another cluster', { marker: ofOther }, 'Set RESULTS_DIR to the directory of this'],
    ['that of another cluster', { marker: ofOther, recorded: none }, 'of another database'],
    ['not shared as those of the others are', { isShared: false }, 'Set RESULTS_SHARED=1'],
  ])('is refused when it is %s, and the message says what to do', (_what, options, why) => {
    expect(refuse(options)).toContain(why)
  })

  it('is refused when its marker is damaged', async () => {
    writeFileSync(join(directory, markerName), '\0\0')
    const marker = await readMarker(directory)
    expect(refuse({ marker })).toContain('delete that file')
  })
})
